"""Settings as TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any


def to_toml(settings: Mapping[str, Any]) -> str:
    """TOML of settings: prompts as typed, paths absolute, tuples as lists, a config as a table; None is left out.

    Raises:
        TypeError: any other type of value.
    """
    import tomli_w

    return tomli_w.dumps(plain(settings))


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as TOML has them, see `to_toml`."""

    def one(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value.absolute())
        if isinstance(value, list | tuple):
            return [one(item) for item in value]
        if is_dataclass(value) and not hasattr(value, "text"):
            return plain(vars(value))
        return getattr(value, "text", value)

    return {name: one(value) for name, value in settings.items() if value is not None}
