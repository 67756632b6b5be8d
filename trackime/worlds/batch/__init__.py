"""Worlds to train with: whole batches of layered clips in torch, on a processor or a GPU."""

from trackime.worlds.batch.batch import Batch, make_batch
from trackime.worlds.batch.options import BatchOptions
from trackime.worlds.batch.pool import TexturePool

__all__ = ["Batch", "BatchOptions", "TexturePool", "make_batch"]
