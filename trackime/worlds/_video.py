"""The base of procedural videos: frames rendered on demand, and ground truth from what they are rendered with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.random import Generator
from scipy.ndimage import maximum_filter

from trackime.arrays import BoolArray, Float32, FloatArray, IntArray, UInt8
from trackime.errors import InputError
from trackime.types import Queries, Tracks, VideoInfo


class ProceduralVideo:
    """A video whose frames are rendered by number, and whose true point positions are known in every frame.

    Attributes:
        info: size and times.
        seed: seed of the scene.
    """

    info: VideoInfo
    seed: int
    _EDGE_SHARE: ClassVar[float]
    _OBJECT_SHARE: ClassVar[float]

    def frame(self, t: int) -> UInt8:
        """Frame t: uint8 [H, W, 3].

        Raises:
            InputError: no such frame.
        """
        raise NotImplementedError

    def mask(self, t: int) -> UInt8:
        """Object id at each pixel centre of frame t: uint8 [H, W], 0 the background.

        Raises:
            InputError: no such frame.
        """
        raise NotImplementedError

    def _locate(self, xy: FloatArray, t: IntArray) -> tuple[IntArray, FloatArray]:
        """Surface visible at points [N, 2] of frames [N], and its own coordinates there [N, D]."""
        raise NotImplementedError

    def _follow(self, surfaces: IntArray, points: FloatArray, frames: IntArray) -> tuple[FloatArray, BoolArray]:
        """Points [N, D] of surfaces [N] at some frames [T]: float64 [N, T, 2] pixels, bool [N, T] visible."""
        raise NotImplementedError

    def _objects(self, surfaces: IntArray) -> IntArray:
        """Object ids [N] of surfaces [N]."""
        return surfaces

    @property
    def _largest_id(self) -> int:
        raise NotImplementedError

    def __len__(self) -> int:
        return self.info.frames

    def render(self, t0: int, t1: int) -> UInt8:
        """Frames t0 .. t1 - 1: uint8 [t1 - t0, H, W, 3].

        Raises:
            InputError: not 0 <= t0 <= t1 <= T.
        """
        if not 0 <= t0 <= t1 <= len(self):
            raise InputError(f"render: expected 0 <= t0 <= t1 <= {len(self)}, got [{t0}, {t1})")
        out = np.empty((t1 - t0, self.info.height, self.info.width, 3), np.uint8)
        for t in range(t0, t1):
            out[t - t0] = self.frame(t)
        return out

    @cached_property
    def video(self) -> UInt8:
        """All frames, uint8 [T, H, W, 3]; rendered once, then kept."""
        return self.render(0, len(self))

    @cached_property
    def masks(self) -> UInt8:
        """All masks, uint8 [T, H, W]; rendered once, then kept."""
        return np.stack([self.mask(t) for t in range(len(self))])

    def owner(self, xy: FloatArray, t: IntArray) -> tuple[IntArray, FloatArray]:
        """Object visible at points [N, 2] of frames [N] (0: the background), and the surface's own coordinates."""
        surfaces, points = self._locate(xy, np.asarray(t, np.int64))
        return self._objects(surfaces), points

    def track(self, queries: Queries) -> Tracks:
        """True tracks of any pixels: visibility 0 or 1, instance the object visible there (0: the background).

        Raises:
            InputError: a query outside the video.
        """
        queries.check(self.info)
        surfaces, points = self._locate(queries.xy, queries.t)
        xy, visible = self._follow(surfaces, points, np.arange(len(self)))
        rows = np.arange(len(queries))
        # At its query frame a track is the query to the last bit.
        xy[rows, queries.t], visible[rows, queries.t] = queries.xy, True
        return Tracks(xy, visible.astype(np.float32), Queries(queries.xyt, self._objects(surfaces)), self.info)

    def flow(self, t0: int, t1: int) -> tuple[Float32, BoolArray]:
        """Optical flow from frame t0 to t1.

        Returns:
            float32 [H, W, 2] displacement (dx, dy) of each pixel centre, true even where the point is hidden in t1;
            bool [H, W] whether it is visible in t1. Across a cut nothing is visible, and the flow leads to where the
            point was at the end of its own shot.

        Raises:
            InputError: no such frame.
        """
        for t in (t0, t1):
            self.check_frame(t)
        h, w = self.info.height, self.info.width
        y, x = np.mgrid[:h, :w] + 0.5
        xy = np.stack([x.ravel(), y.ravel()], 1)
        there, visible = self._follow(*self._locate(xy, np.full(len(xy), t0)), np.array([t1]))
        return (there[:, 0] - xy).reshape(h, w, 2).astype(np.float32), visible[:, 0].reshape(h, w)

    def sample(
        self,
        n: int,
        seed: int = 0,
        t: int | None = None,
        ids: Sequence[int] | None = None,
        edge_share: float | None = None,
        object_share: float | None = None,
    ) -> Tracks:
        """True tracks of n random visible points.

        Args:
            n: number of points.
            seed: other seeds, other points.
            t: their query frame; None: uniform over the video.
            ids: only points of these objects (0 is the background).
            edge_share: share of points close to the outline of an object, 0 to 1; None: 0.5 of a `World`, 0.2 of a
                `Scene`.
            object_share: share of points on objects rather than the background, 0 to 1; None: 0.7 and 0.3.

        Raises:
            InputError: n or seed below 0, a share outside [0, 1], no such frame or object, or `ids` that are visible
                nowhere.
        """
        edge_share = self._EDGE_SHARE if edge_share is None else edge_share
        object_share = self._OBJECT_SHARE if object_share is None else object_share
        if n < 0 or seed < 0:
            raise InputError(f"sample: expected n and seed of 0 or more, got n={n}, seed={seed}")
        for name, share in (("edge_share", edge_share), ("object_share", object_share)):
            if not 0 <= share <= 1:
                raise InputError(f"{name}: expected a share of 0 to 1, got {share}")
        chosen = None if ids is None else [int(k) for k in ids]
        if chosen is not None and (not chosen or any(not 0 <= k <= self._largest_id for k in chosen)):
            raise InputError(f"ids: expected some of 0 .. {self._largest_id}, got {chosen}")
        if t is not None:
            self.check_frame(t)
        return self.track(self._sample_queries(n, seed, t, chosen, (edge_share, object_share)))

    def check_frame(self, t: int) -> None:
        """Raise InputError unless the video has a frame t."""
        if not 0 <= t < len(self):
            raise InputError(f"frame: expected 0 .. {len(self) - 1}, got {t}")

    def _sample_queries(
        self, n: int, seed: int, t: int | None, ids: list[int] | None, shares: tuple[float, float]
    ) -> Queries:
        rng = np.random.default_rng([self.seed, 11, seed])
        frames = len(self)
        times = rng.integers(0, frames, n) if t is None else np.full(n, t)
        wanted = None if ids is None else np.asarray(sorted(set(ids)), np.int64)
        parts: list[FloatArray] = []
        missing = 0
        for frame in np.unique(times).tolist():
            need = int((times == frame).sum()) + missing
            found = self._pick(rng, frame, need, wanted, shares)
            missing = need - len(found)
            parts.append(found)
        # The objects may be out of sight in the frames drawn: look through the others in random order.
        for frame in rng.permutation(frames).tolist() if t is None and missing else []:
            found = self._pick(rng, frame, missing, wanted, shares)
            parts.append(found)
            missing -= len(found)
            if not missing:
                break
        if missing:
            where = "any frame" if t is None else f"frame {t}"
            raise InputError(f"ids: expected objects seen in {where}, got {ids}: none of them is")
        return Queries(np.concatenate([np.zeros((0, 3)), *parts]))

    def _pick(self, rng: Generator, t: int, n: int, ids: IntArray | None, shares: tuple[float, float]) -> FloatArray:
        """n random positions (x, y, t) in frame t, or none when none of the objects is visible there."""
        mask = self.mask(t)
        wanted = np.ones(mask.shape, bool) if ids is None else np.isin(mask, ids)
        edges = _near_edges(mask, max(1, round(0.012 * min(mask.shape))))
        pools = {
            (thing, edge): np.flatnonzero(wanted & ((mask > 0) == thing) & (edges == edge))
            for thing in (True, False)
            for edge in (True, False)
        }
        if not wanted.any():
            return np.zeros((0, 3))
        edge_share, object_share = shares
        pixels = []
        for _ in range(n):
            thing, edge = bool(rng.random() < object_share), bool(rng.random() < edge_share)
            for choice in ((thing, edge), (thing, not edge), (not thing, edge), (not thing, not edge)):
                pool = pools[choice]
                if len(pool):
                    pixels.append(int(pool[rng.integers(len(pool))]))
                    break
        row, column = np.divmod(np.array(pixels, np.int64), mask.shape[1])
        xyt = np.stack([column + 0.5, row + 0.5, np.full(n, float(t))], 1)
        moved = xyt + np.concatenate([rng.uniform(-0.5, 0.5, (n, 2)), np.zeros((n, 1))], 1)
        # A pixel on an edge is shared: its centre belongs to the mask's object, other points in it may not.
        same = self.owner(moved[:, :2].astype(np.float32), np.full(n, t))[0] == mask[row, column]
        xyt[same] = moved[same]
        return xyt


def _near_edges(mask: UInt8, width: int) -> BoolArray:
    """Pixels with a change of owner within a square window of 2 `width` - 1 pixels."""
    edge = np.zeros(mask.shape, bool)
    across, along = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= along
    edge[:-1] |= along
    near: BoolArray = maximum_filter(edge, 2 * width - 1, mode="constant")
    return near
