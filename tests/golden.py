"""Vectors made by upstream code with weights that follow from their names alone (tests/data/golden)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "data" / "golden"


def vectors(name: str) -> dict[str, np.ndarray]:
    """Inputs and outputs recorded for a model."""
    with np.load(FOLDER / f"{name}.npz") as data:
        return {key: data[key] for key in data.files}


def value(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32: the weight called `key`, whichever network it is in."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.float32)
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    if key.endswith("running_var"):
        made = 1 + 0.1 * np.abs(noise)
    elif key.endswith("running_mean"):
        made = 0.1 * noise
    elif len(shape) <= 1:
        made = 1 + 0.1 * noise if key.endswith("weight") else 0.05 * noise
    else:
        made = noise / np.sqrt(float(np.prod(shape[1:])))
    return np.asarray(made, np.float32)


def filled(network: nn.Module, skip: Collection[str] = ()) -> dict[str, Tensor]:
    """A state dict for `network`; integers, and the keys in `skip`, as they were built."""
    return {
        key: torch.from_numpy(value(key, tuple(old.shape))).to(old.dtype)
        if old.is_floating_point() and key not in skip
        else old
        for key, old in network.state_dict().items()
    }
