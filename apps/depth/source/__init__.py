"""Depth to start from, made elsewhere: networks, folders."""
