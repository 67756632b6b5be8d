"""Configs are frozen dataclasses whose fields carry their help; the command line is generated from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, field, fields
from typing import Any

from trackime.errors import InputError


def option(default: Any, help: str, choices: Sequence[Any] = ()) -> Any:
    """A dataclass field with its help: what it is, its unit, and how to switch it off.

    Args:
        default: the default, immutable.
        help: one sentence.
        choices: the values allowed; empty: any of the type.
    """
    return field(default=default, metadata={"help": help, "choices": tuple(choices)})


def check_choices(config: Any) -> None:
    """Raise InputError where the value of a field is not one of its choices. For `__post_init__`."""
    for item in fields(config):
        value, choices = getattr(config, item.name), item.metadata.get("choices", ())
        if choices and value not in choices:
            raise InputError(f"{item.name}: expected one of {', '.join(map(str, choices))}, got {value!r}")


def help_of(item: Field[Any]) -> str:
    """The help of a field made by `option`."""
    return str(item.metadata.get("help", ""))
