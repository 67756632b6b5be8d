"""Errors that users of trackime can cause, with one root.

Messages are one line: expected, got, allowed. Children carry the data of their message, so that programs need not
parse it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class TrackimeError(Exception):
    """Root of everything trackime raises on purpose. The command line prints it as one line, exit code 1."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Children take the data of their message, not the message: worker processes must still hand them over.
        return _restore, (type(self), self.args, self.__dict__)


class InputError(TrackimeError, ValueError):
    """An argument, query or option that cannot be used as given."""


class ShapeError(InputError):
    """An array whose shape is not the one expected.

    Args:
        name: the argument's name.
        expected: the shape in words, e.g. ``"[N, T, 2]"``.
        got: the actual shape.
    """

    def __init__(self, name: str, expected: str, got: Iterable[int]) -> None:
        self.name, self.expected, self.got = name, expected, tuple(got)
        super().__init__(f"{name}: expected shape {expected}, got {list(self.got)}")


class UnknownNameError(InputError):
    """A name that no registry knows.

    Args:
        kind: kind of name, e.g. ``"tracker"``.
        name: the unknown name.
        allowed: the names that are allowed.
    """

    def __init__(self, kind: str, name: str, allowed: Iterable[str]) -> None:
        self.kind, self.name, self.allowed = kind, name, tuple(allowed)
        super().__init__(f"unknown {kind} {name!r}: expected one of {', '.join(self.allowed) or '(none)'}")


class VideoError(TrackimeError):
    """A video that cannot be read, or not in full."""


class OutputError(TrackimeError):
    """A result that cannot be written."""


class FormatError(TrackimeError):
    """A file that is not what its name or header says."""


class DownloadError(TrackimeError):
    """A file that cannot be fetched, or must not be: no network, the server's answer, a wrong digest, ``--offline``."""


class DeviceError(TrackimeError):
    """A device that is not there, or out of memory even with smaller chunks."""


class SolveError(TrackimeError):
    """An optimisation that diverged, or whose result is impossible."""


class MissingExtraError(TrackimeError, ImportError):
    """An optional dependency that is not installed.

    Args:
        what: the feature that needs it.
        extra: the extra of the ``trackime`` package that installs it.
    """

    def __init__(self, what: str, extra: str) -> None:
        self.what, self.extra = what, extra
        super().__init__(f"{what} needs an optional dependency: pip install 'trackime[{extra}]'")


def _restore(kind: type[TrackimeError], args: tuple[Any, ...], data: dict[str, Any]) -> TrackimeError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(data)
    return error
