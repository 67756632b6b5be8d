"""Where a run stands, on disk: everything that goes on is in small files, and is back to the last bit."""

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

PART = 3_750_000
"""Floats a file: 15 MB."""
INDEX = "index.json"


def save_state(folder: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and a few facts as a folder that is whole or not there.

    All tensors are laid out in one row of float32, cut into files of `PART`.

    Args:
        folder: replaced if it is there.
        tensors: float32 by name.
        about: whatever JSON holds.

    Raises:
        OutputError: it cannot be written.
    """
    row = torch.cat([t.detach().to("cpu", torch.float32).flatten() for t in tensors.values()])
    shapes = {name: list(t.shape) for name, t in tensors.items()}
    with atomic(folder) as temporary:
        temporary.mkdir()
        digests = []
        for i, part in enumerate(row.split(PART)):
            data = part.numpy().astype("<f4").tobytes()
            (temporary / f"part-{i:02d}.bin").write_bytes(data)
            digests.append(hashlib.sha256(data).hexdigest())
        index = {"shapes": shapes, "sha256": digests, "about": dict(about)}
        (temporary / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_state` wrote: tensors and facts.

    Raises:
        InputError: no such folder.
        FormatError: a file is missing, cut short or changed.
    """
    if not (folder / INDEX).is_file():
        raise InputError(f"{folder}: expected the state of a run, found no {INDEX}")
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
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
