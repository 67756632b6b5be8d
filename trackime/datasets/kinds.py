"""Readers of data sets, with one type of sample for all: `read("davis", "/data/DAVIS")` yields `Sample`s."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from trackime.datasets.sample import Sample
from trackime.datasets.scan import Scan
from trackime.errors import UnknownNameError

SCANS = ("bonn", "rgbd", "sintel", "tum")
"""The kinds with true depth and cameras."""

_KINDS = (
    "badja", "bonn", "davis", "deeplabcut", "pointodyssey", "rgbd", "sintel", "snufilm", "sportsslomo", "tapvid",
    "tum", "vimeo90k", "x4k1000fps",
)  # fmt: skip


def names() -> list[str]:
    """The kinds of data set `read` knows; each is a module of this package, whose `read` lists its options."""
    return list(_KINDS)


def read(kind: str, path: str | os.PathLike[str], **options: Any) -> Iterator[Sample]:
    """The samples of a data set on disk, one at a time.

    Args:
        kind: one of `names()`.
        path: the data set's folder or file.
        options: of that kind's reader, e.g. ``split="val"`` for "davis", ``mode="strided"`` for "tapvid".

    Raises:
        UnknownNameError: an unknown kind.
        FormatError: nothing of that kind at `path`; for a broken sample when it is reached.
    """
    if kind not in _KINDS:
        raise UnknownNameError("data set", kind, _KINDS)
    return import_module(f"trackime.datasets.{kind}").read(path, **options)  # type: ignore[no-any-return]


def scans(kind: str, path: str | os.PathLike[str], **options: Any) -> Iterator[Scan]:
    """The true depth and cameras of a data set on disk, one video at a time.

    Args:
        kind: one of `SCANS`.
        path: the data set's folder.
        options: of that kind's `scans`, e.g. ``render="clean"`` for "sintel".

    Raises:
        UnknownNameError: an unknown kind.
        FormatError: nothing of that kind at `path`; for one broken video when it is reached.
    """
    if kind not in SCANS:
        raise UnknownNameError("data set with depth", kind, SCANS)
    return import_module(f"trackime.datasets.{kind}").scans(path, **options)  # type: ignore[no-any-return]
