"""The one syntax of prompts: ``X,Y[,T[,ID]][,+|-]``.

X and Y are pixels; a typed integer means that pixel's centre, so ``100,200`` is (100.5, 200.5), while ``100.0`` is
taken as it is. T is a frame index (0), ID the object (1 .. 254), ``+`` a point on it and ``-`` a point off it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from trackime.arrays import IntArray
from trackime.errors import FormatError, InputError
from trackime.types import Queries

from ..vos import LAST_ID

_SYNTAX = "X,Y[,T[,ID]][,+|-]"


@dataclass(frozen=True)
class Prompt:
    """One typed point.

    Attributes:
        x, y: pixels, centre of the top-left pixel at (0.5, 0.5).
        t: frame index.
        id: object id of 1 .. 254, None where none was typed.
        positive: whether the point lies on the object (or off it).
        text: what was typed.
    """

    x: float
    y: float
    t: int = 0
    id: int | None = None
    positive: bool = True
    text: str = ""


def _parse_prompt(text: str) -> Prompt:
    """The prompt that `text` spells.

    Raises:
        InputError: anything but ``X,Y[,T[,ID]][,+|-]``.
    """
    parts = [part.strip() for part in text.split(",")]
    positive = True
    if parts[-1] in ("+", "-"):
        positive = parts.pop() == "+"
    if not 2 <= len(parts) <= 4:
        raise InputError(f"point {text!r}: expected {_SYNTAX}, got {len(parts)} number{'s' * (len(parts) != 1)}")
    x, y = (_coordinate(part, text) for part in parts[:2])
    t = _whole(parts[2], text, "frame T", 0, None) if len(parts) > 2 else 0
    identity = _whole(parts[3], text, "ID", 1, LAST_ID) if len(parts) > 3 else None
    return Prompt(x, y, t or 0, identity, positive, text)


def _coordinate(part: str, text: str) -> float:
    try:
        return int(part) + 0.5
    except ValueError:
        pass
    try:
        value = float(part)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"point {text!r}: expected {_SYNTAX} with X and Y in pixels, got {part!r}")
    return value


def _whole(part: str, text: str, name: str, first: int, last: int | None) -> int:
    try:
        value = int(part)
    except ValueError:
        value = first - 1
    if value < first or (last is not None and value > last):
        allowed = f"{first} or more" if last is None else f"{first} .. {last}"
        raise InputError(f"point {text!r}: expected {name} as a whole number of {allowed}, got {part!r}")
    return value


def read_prompts(path: str | Path) -> list[Prompt]:
    """The prompts of a text file, one a line in the same syntax; blank lines, ``#`` and a header are skipped.

    Raises:
        FormatError: no such file, or a line that is no prompt.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot read queries: {getattr(error, 'strerror', None) or error}") from None
    prompts: list[Prompt] = []
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        header = not prompts and stripped[:1].isalpha()
        if not stripped or stripped.startswith("#") or (header and not stripped.lower().startswith(("nan", "inf"))):
            continue
        try:
            prompts.append(_parse_prompt(stripped))
        except InputError as error:
            raise FormatError(f"{path}, line {number}: {error}") from None
    return prompts


def to_queries(prompts: Sequence[Prompt], default_id: int = -1) -> tuple[Queries, IntArray]:
    """Queries of `prompts` (instance: their id, else `default_id`), and int32 [N] labels: 1 on the object, 0 off."""
    xyt = np.array([(p.x, p.y, p.t) for p in prompts], np.float32).reshape(-1, 3)
    ids = np.array([default_id if p.id is None else p.id for p in prompts], np.int32)
    return Queries(xyt, ids), np.array([p.positive for p in prompts], np.int32)


class PromptType(click.ParamType):
    """Click's view of `_parse_prompt`."""

    name = "prompt"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return _SYNTAX

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Prompt:
        if isinstance(value, Prompt):
            return value
        try:
            return _parse_prompt(str(value))
        except InputError as error:
            self.fail(str(error), param, ctx)
