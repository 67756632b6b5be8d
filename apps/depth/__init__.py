"""Consistent video depth and cameras from long-term tracks."""
