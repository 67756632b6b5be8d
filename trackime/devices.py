"""Choice of the device. `auto` takes the best one; a device given by name never falls back."""

from __future__ import annotations

import torch

from trackime.errors import DeviceError, InputError


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The device called `name`: auto, cpu, cuda, cuda:N or mps. `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        InputError: no such name.
        DeviceError: no such device on this machine.
    """
    text = str(name)
    if text == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, colon, index = text.partition(":")
    indexed = kind == "cuda" and index.isascii() and index.isdecimal()
    if kind not in ("cpu", "cuda", "mps") or (colon and not indexed):
        raise InputError(f"device: expected auto, cpu, cuda, cuda:N or mps, got {text!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device {text}: no CUDA device here (torch {torch.__version__}); allowed: auto, cpu")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise DeviceError(f"device {text}: expected an index of 0 .. {last}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps: not available here; allowed: auto, cpu")
    return torch.device("cuda", int(index)) if index else torch.device(kind)
