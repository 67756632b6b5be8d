"""Registry of factories by name; third parties register by entry points."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from trackime.errors import InputError, TrackimeError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Factories by name; a name may carry an argument after a colon: ``"tapir:/path/to/file.pt"``.

    Args:
        kind: of the products, for messages: "tracker".
        group: entry point group that third parties register under.
        builtin: name to "module:factory", imported on first use.
    """

    def __init__(self, kind: str, group: str, builtin: dict[str, str]) -> None:
        self.kind, self.group, self.builtin = kind, group, builtin

    def names(self) -> list[str]:
        """Every name that `create` takes, built-in ones first."""
        extra = sorted({e.name for e in entry_points(group=self.group)} - set(self.builtin))
        return [*self.builtin, *extra]

    def create(self, name: str, **options: Any) -> T:
        """Create the product called `name`.

        Args:
            name: a name of `names()`, or ``name:argument`` for those that take one (a weights file).
            options: keyword arguments of the factory. `device` may be missing there: the product then computes where
                it chooses, and its own `device` says where.

        Raises:
            UnknownNameError: no such name.
            InputError: an unknown option or argument, a missing one, or a third party's factory that cannot be
                imported.
        """
        base, _, argument = name.partition(":")
        factory = self._factory(base)
        if argument:
            options["path"] = argument
        taken = inspect.signature(factory).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
            if "device" not in taken:
                options.pop("device", None)
            for option in options:
                if option not in taken:
                    raise InputError(f"{self.kind} {base} takes no {option!r}: expected {', '.join(taken) or 'none'}")
        for parameter in taken.values():
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and parameter.default is parameter.empty and parameter.name not in options:
                how = f" (write {base}:PATH)" if parameter.name == "path" else ""
                raise InputError(f"{self.kind} {base} needs {parameter.name!r}{how}")
        return factory(**options)

    def _factory(self, base: str) -> Callable[..., T]:
        if base in self.builtin:
            module, _, attribute = self.builtin[base].partition(":")
            factory: Callable[..., T] = getattr(import_module(module), attribute)
            return factory
        for entry in entry_points(group=self.group):
            if entry.name == base:
                return self._load(entry)
        raise UnknownNameError(self.kind, base, self.names())

    def _load(self, entry: EntryPoint) -> Callable[..., T]:
        try:
            loaded: Callable[..., T] = entry.load()
        except TrackimeError:
            raise
        except (ImportError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{self.kind} {entry.name}: {entry.value} cannot be imported: {reason}") from error
        return loaded
