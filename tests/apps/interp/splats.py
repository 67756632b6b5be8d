"""Random input of the splatting."""

import torch


def weighted(mode):
    return mode in ("linear", "softmax")


def make(seed, batch=1, channels=2, height=5, width=6, dtype=torch.float64, reach=3.0):
    """Values, flow and metric without anything special about them."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(batch, channels, height, width, generator=random, dtype=dtype)
    flow = torch.randn(batch, 2, height, width, generator=random, dtype=dtype) * reach
    metric = torch.rand(batch, 1, height, width, generator=random, dtype=dtype) + 0.1
    return values, flow, metric
