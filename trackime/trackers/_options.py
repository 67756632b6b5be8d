"""Options of trackers, each written once: a field of a frozen dataclass, which a tracker's class takes and from which
the signature of its factory is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import fields
from inspect import Parameter, Signature
from typing import Any, TypeVar

import torch

from trackime.devices import resolve_device
from trackime.errors import InputError
from trackime.trackers.base import PointTracker

_Options = TypeVar("_Options")

Checkpoint = str | os.PathLike[str] | None
"""A weights file; None: the published one, wherever `trackime.checkpoints` finds it."""


def factory(
    options: type[_Options],
    make: Callable[[_Options, Checkpoint, torch.device], PointTracker],
    without: Collection[str] = (),
    **fixed: Any,
) -> Callable[..., PointTracker]:
    """What the registry calls: takes `path` (a `Checkpoint`), `device` and the options as keywords.

    Options and device are checked before `make` reads a large file.

    Args:
        options: the dataclass.
        make: makes the tracker.
        without: options that it does not have.
        fixed: options that are given already.

    Raises (the function returned):
        InputError: an option outside its range; no such file.
        FormatError: a checkpoint that is damaged, or of another network.
        DeviceError: no such device.
    """

    def create(path: Checkpoint = None, device: str | torch.device = "cpu", **chosen: Any) -> PointTracker:
        return make(options(**fixed, **chosen), path, resolve_device(device))

    own = [f for f in fields(options) if f.name not in without and f.name not in fixed]  # type: ignore[arg-type]
    keywords = [Parameter(f.name, Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type) for f in own]
    first = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default)
        for name, default in (("path", None), ("device", "cpu"))
    ]
    create.__signature__ = Signature([*first, *keywords])  # type: ignore[attr-defined]
    create.__doc__ = options.__doc__
    return create


def check_size(size: Collection[int], multiple: int, least: int, name: str = "input_size") -> tuple[int, int]:
    """A size (h, w) that frames are resized to. Raises InputError unless of multiples of `multiple` from `least` on."""
    found = tuple(int(v) for v in size)
    if len(found) != 2 or any(v < least or v % multiple for v in found):
        raise InputError(f"{name}: expected (h, w), multiples of {multiple} of at least {least}, got {size}")
    return found[0], found[1]


def check_positive(**values: int | None) -> None:
    """Raise InputError for a value below 1, by its name; None passes."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise InputError(f"{name}: expected 1 or more, got {value}")
