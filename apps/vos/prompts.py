"""A user's prompts: masks and clicks by frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trackime.arrays import FloatArray, IntArray, UInt8
from trackime.errors import InputError, ShapeError
from trackime.types import Queries, VideoInfo

LAST_ID = 254
"""Largest object id: masks keep 0 for the background and 255 for void."""


def object_ids(ids: IntArray) -> list[int]:
    """The objects of an id mask, ascending: every value but 0 (background) and 255 (void)."""
    return [int(k) for k in np.unique(ids) if k not in (0, 255)]


@dataclass(frozen=True, eq=False)
class Prompts:
    """Masks and clicks of objects, in any frame. An object starts in its first prompt's frame.

    Attributes:
        masks: by frame, integer or bool [H, W] ids: 0 background, 255 void. A later mask of an object resets it.
        points: clicks (x, y, t) in source pixels; their instance is the object's id, -1 means object 1. A click
            after the object's start corrects it.
        labels: int [N] of the clicks: 1 on the object, 0 off it; None: all on.

    Raises:
        ShapeError: a mask that is not [H, W], labels of another number than the clicks.
        InputError: ids that are not whole numbers of 0 .. 255, ids of clicks beyond 1 .. 254, other labels.
    """

    masks: Mapping[int, UInt8] = field(default_factory=dict)
    points: Queries = field(default_factory=lambda: Queries(np.zeros((0, 3))))
    labels: IntArray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        masks = {int(t): _checked(int(t), ids) for t, ids in self.masks.items()}
        count = len(self.points)
        labels = np.ones(count, np.int64) if self.labels is None else np.asarray(self.labels)
        if labels.shape != (count,):
            raise ShapeError("labels", f"[{count}] (one per click)", labels.shape)
        if not np.isin(labels, (0, 1)).all():
            raise InputError(f"labels: expected 1 (on the object) or 0 (off it), got {np.unique(labels).tolist()}")
        points = Queries(self.points.xyt, np.where(self.points.instance < 0, 1, self.points.instance))
        bad = points.instance[(points.instance < 1) | (points.instance > LAST_ID)]
        if len(bad):
            raise InputError(f"object id of a click: expected 1 .. {LAST_ID}, got {int(bad[0])}")
        for name, value in (("masks", masks), ("points", points), ("labels", labels)):
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, given: Prompts | Queries | Mapping[int, npt.ArrayLike] | npt.ArrayLike) -> Prompts:
        """Prompts as they are; of a mask [H, W] of frame 0, of masks by frame, or of clicks on objects.

        Raises:
            InputError: none of these. See `Prompts` for others.
        """
        if isinstance(given, Prompts):
            return given
        if isinstance(given, Queries):
            return cls(points=given)
        if isinstance(given, Mapping):
            return cls({t: np.asarray(ids) for t, ids in given.items()})
        if isinstance(given, np.ndarray):
            return cls({0: given})
        raise InputError(
            f"prompts: expected Prompts, Queries, a mask [H, W] or masks by frame, got {type(given).__name__}"
        )

    @cached_property
    def first(self) -> dict[int, int]:
        """The frame of each object's first mask, or click on it."""
        found: dict[int, int] = {}
        for t, k in self._frames_and_ids(self.labels == 1):
            found[k] = min(t, found.get(k, t))
        return found

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of all objects, ascending."""
        return tuple(sorted(self.first))

    @property
    def frames(self) -> list[int]:
        """Frames with a mask or a click, ascending."""
        return sorted({*self.masks, *self.points.t.tolist()})

    def by_object(self) -> dict[int, list[int]]:
        """The frames with prompts, ascending, by object."""
        found: dict[int, set[int]] = {k: set() for k in self.objects}
        for t, k in self._frames_and_ids():
            found.setdefault(k, set()).add(t)
        return {k: sorted(frames) for k, frames in found.items()}

    def prompted(self, t: int) -> list[int]:
        """Objects with a mask or a click in frame t, ascending."""
        return sorted({k for frame, k in self._frames_and_ids() if frame == t})

    def _frames_and_ids(self, rows: Any = slice(None)) -> Iterable[tuple[int, int]]:
        """(frame, object) of every mask, and of the clicks of some rows."""
        yield from ((t, k) for t, ids in self.masks.items() for k in object_ids(ids))
        yield from zip(self.points.t[rows].tolist(), self.points.instance[rows].tolist(), strict=True)

    def clicks(self, t: int, k: int) -> tuple[FloatArray, IntArray]:
        """Clicks [K, 2] of frame t that concern object k, and their labels [K]; clicks on others are off this one."""
        own = self.points.instance == k
        use = (self.points.t == t) & (own | (self.labels == 1))
        return self.points.xy[use], np.where(own, self.labels, 0)[use]

    def check(self, info: VideoInfo, known: Sequence[int] = ()) -> None:
        """Raise unless the prompts fit a video in which the objects `known` are there already.

        Raises:
            InputError: no object at all, a frame or click outside the video, an object with clicks off it alone.
            ShapeError: a mask of another size than the frames'.
        """
        for t, ids in self.masks.items():
            if not 0 <= t < info.frames:
                raise InputError(f"mask of frame {t}: expected a frame in 0 .. {info.frames - 1}")
            if ids.shape != (info.height, info.width):
                raise ShapeError(f"mask of frame {t}", f"[{info.height}, {info.width}]", ids.shape)
        self.points.check(info)
        lost = sorted(set(self.points.instance.tolist()) - set(self.first) - set(known))
        if lost:
            expected = f"one of {list(known)}, or a click on it" if known else "a mask or a click on it"
            raise InputError(f"object {lost[0]}: expected {expected}, got clicks off it alone")
        if not self.frames or not (self.first or known):
            raise InputError("objects: expected a mask with at least one object, or a click, got none")


def _checked(t: int, mask: npt.ArrayLike) -> UInt8:
    """The ids uint8 [H, W] of frame t's mask."""
    ids = np.asarray(mask)
    if ids.ndim != 2 or not ids.size:
        raise ShapeError(f"mask of frame {t}", "[H, W], not empty", ids.shape)
    if ids.dtype == np.bool_ or (np.issubdtype(ids.dtype, np.integer) and ids.min() >= 0 and ids.max() <= 255):
        return ids.astype(np.uint8)
    got = f"{ids.dtype} {ids.min()} .. {ids.max()}" if ids.dtype.kind in "iuf" else ids.dtype
    raise InputError(f"mask of frame {t}: expected whole ids of 0 .. 255, got {got}")
