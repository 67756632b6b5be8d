"""Batches of layered clips in torch, to train with."""
