"""Tracks in and out: `save(tracks, path)`, `load(path)`, `formats()`. The format follows from the suffix, or is named.

Every format keeps positions; its own module states what else it keeps, and in which coordinates. Files are written
atomically, and no path is ever made from a file's content.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from trackime.errors import InputError, UnknownNameError
from trackime.types import Tracks


@dataclass(frozen=True)
class Format:
    """A file format of tracks.

    Attributes:
        name: its name for `save` and `load`.
        suffix: suffix of its files.
        loads: it can be read back; otherwise it is for another program.
        summary: one line for a list of formats.
        module: the module with its `save` and, where it `loads`, its `load`.
    """

    name: str
    suffix: str
    loads: bool
    summary: str
    module: str

    def code(self) -> ModuleType:
        """Its module, imported when first needed."""
        return import_module(f"trackime.formats.{self.module}")


_FORMATS = {
    f.name: f
    for f in (
        Format("npz", ".npz", True, "numpy arrays, everything kept", "npz"),
        Format("csv", ".csv", True, "a row per point and frame, everything kept", "csv"),
        Format("json", ".json", True, "self-describing, everything kept", "json"),
        Format("tapvid", ".tapvid.npz", True, "TAP-Vid points, occluded and query_points", "tapvid"),
        Format("nuke", ".nk", False, "a Tracker4 node for Nuke", "nuke"),
        Format("aftereffects", ".ae.txt", False, "keyframes to paste into After Effects", "aftereffects"),
        Format("syntheyes", ".syntheyes.txt", False, "2-D tracker paths for SynthEyes", "syntheyes"),
        Format("3de", ".3de.txt", False, "2-D points for 3DEqualizer 4", "equalizer"),
        Format("blender", ".py", False, "a script that makes Blender's tracks", "blender"),
        Format("rerun", ".rrd", False, "a recording for the rerun viewer (extra: rerun)", "rerun"),
    )
}


def formats() -> MappingProxyType[str, Format]:
    """Every format by name, read-only; iterating gives the names."""
    return MappingProxyType(_FORMATS)


def save(tracks: Tracks, path: str | os.PathLike[str], format: str | None = None, **options: Any) -> None:
    """Write tracks to a file; atomic.

    Args:
        tracks: the tracks.
        path: the file; missing folders are made.
        format: a name of `formats()`; None: by the path's suffix.
        options: of the format's own `save`, e.g. `start_frame` for nuke.

    Raises:
        UnknownNameError: no such format, or a suffix of none.
        InputError: an option the format does not take.
        OutputError: the file cannot be written.
        MissingExtraError: the format needs a package that is not installed.
    """
    chosen = _choose(path, format)
    writer = chosen.code().save
    _check_options(chosen, writer, options)
    writer(tracks, path, **options)


def load(path: str | os.PathLike[str], format: str | None = None, **options: Any) -> Tracks:
    """Read tracks from a file.

    Args:
        path: the file.
        format: a name of `formats()` that loads; None: by the path's suffix.
        options: of the format's own `load`, e.g. `width` and `height` for tapvid.

    Raises:
        UnknownNameError: no such format, a suffix of none, or a format that is only written.
        InputError: an option the format does not take.
        FormatError: no such file, or its content is of another format.
    """
    chosen = _choose(path, format)
    if not chosen.loads:
        raise UnknownNameError("format to load from", chosen.name, [f.name for f in _FORMATS.values() if f.loads])
    reader = chosen.code().load
    _check_options(chosen, reader, options)
    tracks: Tracks = reader(path, **options)
    return tracks


def _choose(path: str | os.PathLike[str], format: str | None) -> Format:
    if format is not None:
        if format not in _FORMATS:
            raise UnknownNameError("format of tracks", format, _FORMATS)
        return _FORMATS[format]
    name = Path(path).name
    # Longest first: `.tapvid.npz` is an `.npz` too.
    for candidate in sorted(_FORMATS.values(), key=lambda f: -len(f.suffix)):
        if name.lower().endswith(candidate.suffix):
            return candidate
    raise UnknownNameError("suffix of tracks", Path(name).suffix or name, [f.suffix for f in _FORMATS.values()])


def _check_options(chosen: Format, function: Callable[..., Any], options: dict[str, Any]) -> None:
    # The first parameters are the tracks and the path; the rest are keyword-only.
    taken = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in taken:
            allowed = ", ".join(taken) or "none"
            raise InputError(f"format {chosen.name} takes no option {option!r}: expected one of {allowed}")
