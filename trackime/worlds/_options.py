"""Checks that all options of procedural videos share."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np

from trackime.errors import InputError


class Options:
    """Base of the options' frozen dataclasses."""

    _MAKER: ClassVar[str] = ""

    @classmethod
    def make(cls, **options: Any) -> Self:
        """Options by name.

        Raises:
            InputError: a name that does not exist, or a value out of range.
        """
        known = [item.name for item in fields(cls)]  # type: ignore[arg-type]
        for name in options:
            if name not in known:
                raise InputError(f"{cls._MAKER} takes no option {name!r}: expected one of {', '.join(known)}")
        return cls(**options)

    def check(self, low: float, high: float, *names: str) -> None:
        """Raise InputError unless each of these fields is a number of `low` to `high`."""
        for name in names:
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or not low <= value <= high:
                raise InputError(f"{name}: expected a number of {low:g} to {high:g}, got {value!r}")


def check_whole(**values: tuple[object, int]) -> None:
    """Raise InputError unless each value, given as ``name=(value, least)``, is a whole number of `least` or more."""
    for name, (value, least) in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"{name}: expected a whole number of {least} or more, got {value!r}")
