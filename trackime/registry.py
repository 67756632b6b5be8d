"""Names to factories, with third parties' own coming in by entry points."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from trackime.errors import InputError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Factories by name; a name may carry an argument after a colon: ``"tapir:/path/to/file.pt"``.

    Args:
        kind: what is made, for messages: "tracker".
        group: entry point group that third parties register under.
        builtin: name to "module:factory", imported when first asked for.
    """

    def __init__(self, kind: str, group: str, builtin: dict[str, str]) -> None:
        self.kind, self.group, self.builtin = kind, group, builtin

    def names(self) -> list[str]:
        """Every name that `create` takes, built-in ones first."""
        extra = sorted(e.name for e in entry_points(group=self.group) if e.name not in self.builtin)
        return [*self.builtin, *extra]

    def create(self, name: str, **options: Any) -> T:
        """Make the one called `name`.

        Args:
            name: a name of `names()`, or ``name:argument`` for those that take one (a weights file).
            options: keyword arguments of the factory, `device` among them.

        Raises:
            UnknownNameError: no such name.
            InputError: an option or argument it does not take.
        """
        base, _, argument = name.partition(":")
        factory = self._factory(base)
        if argument:
            options["path"] = argument
        taken = inspect.signature(factory).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
            for option in options:
                if option not in taken:
                    raise InputError(f"{self.kind} {base} takes no {option!r}: expected {', '.join(taken)}")
        return factory(**options)

    def _factory(self, base: str) -> Callable[..., T]:
        if base in self.builtin:
            module, _, attribute = self.builtin[base].partition(":")
            factory: Callable[..., T] = getattr(import_module(module), attribute)
            return factory
        for entry in entry_points(group=self.group):
            if entry.name == base:
                loaded: Callable[..., T] = entry.load()
                return loaded
        raise UnknownNameError(self.kind, base, self.names())
