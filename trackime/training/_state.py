"""State of a run on disk, in small files, restored bit by bit."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trackime.errors import FormatError, InputError
from trackime.files import atomic

_PART = 3_750_000
"""Floats a file: 15 MB."""
_INDEX = "index.json"


def save_state(folder: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and metadata as a folder; atomic.

    All tensors are concatenated as float32 and split into files of `_PART`.

    Args:
        folder: replaced if it exists.
        tensors: float32 by name.
        about: metadata for JSON.

    Raises:
        OutputError: it cannot be written.
    """
    row = torch.cat([t.detach().to("cpu", torch.float32).flatten() for t in tensors.values()])
    shapes = {name: list(t.shape) for name, t in tensors.items()}
    with atomic(folder) as temporary:
        temporary.mkdir()
        digests = []
        for i, part in enumerate(row.split(_PART)):
            data = part.numpy().astype("<f4").tobytes()
            (temporary / f"part-{i:02d}.bin").write_bytes(data)
            digests.append(hashlib.sha256(data).hexdigest())
        index = {"shapes": shapes, "sha256": digests, "about": dict(about)}
        (temporary / _INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata that `save_state` wrote.

    Raises:
        InputError: no such folder.
        FormatError: a file is missing, cut short or changed.
    """
    if not (folder / _INDEX).is_file():
        raise InputError(f"{folder}: expected the state of a run, found no {_INDEX}")
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        shapes, digests, about = index["shapes"], index["sha256"], index["about"]
        parts = []
        for i, digest in enumerate(digests):
            file = folder / f"part-{i:02d}.bin"
            data = file.read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                raise FormatError(f"{file}: expected sha256 {digest}: the file was cut short or changed")
            parts.append(torch.frombuffer(bytearray(data), dtype=torch.float32))
        row = torch.cat(parts)
        pieces = row.split([math.prod(shape) for shape in shapes.values()])
        tensors = {name: p.reshape(shape).clone() for (name, shape), p in zip(shapes.items(), pieces, strict=True)}
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError) as error:
        raise FormatError(f"{folder}: expected the state of a run: {' '.join(str(error).split())[:200]}") from None
    return tensors, about
