"""Motion between two frames, dense: by optical flow, bent by the frames around them, and mended by tracked points."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
import torch

from trackime.arrays import Float32
from trackime.imaging import DenseFlow, flow_magnitude, forward_backward_error, lands_inside, warp_backward
from trackime.ime import ImeConfig
from trackime.types import Tracks
from trackime.video import Pictures, Video

from ._curve import from_positions, from_third, smoothed
from ._local_affine import Spreader
from ._points import BEYOND, FollowedPoints, GivenPoints, Seen
from ._select_flow import choose
from .motion import Motion, Side
from .synthesis import Synthesis

if TYPE_CHECKING:
    from trackime.segmenters import PointSegmenter
    from trackime.trackers import PointTracker

    from .config import InterpConfig

_SAY = 0.7
"""How much points count against flow in bending paths, where they are near."""
_AT_ENDS = 0.25
"""How far bent paths are believed at a shot's ends, where one frame alone speaks for them: it may be one of a shake."""
_KEPT = 4
_LEAST = 4  # points without which nothing is spread


class _Points(Protocol):
    """Followed points, see `points`."""

    spacing: float

    def around(self, i: int, j: int) -> Seen: ...


@dataclass(frozen=True)
class _Ways:
    """Flows [h, w, 2] between two frames: from the earlier to the later, and back."""

    forth: Float32
    back: Float32


def visibility(flow: Float32, back: Float32) -> Float32:
    """The probability [h, w] that a pixel is seen in the other frame, from how far its way back misses it.

    Misses count by the length of the way: a twentieth of it is nothing (Sundaram, Brox and Keutzer, ECCV 2010, whose
    test this is, made smooth). What leaves the frame is not seen.
    """
    allowed = 0.5 + 0.05 * (flow_magnitude(flow) + flow_magnitude(warp_backward(back, flow)))
    seen = np.exp(-((forward_backward_error(flow, back) / allowed) ** 2) / 2)
    return np.asarray(np.where(lands_inside(flow), seen, 0), np.float32)


class _DenseMotion:
    """Estimates motion between neighbouring frames of a shot.

    Args:
        pictures: the frames.
        points: followed points, or None: flow alone.
        curved: paths may be bent; off: they are straight.
        mend: points may correct the flow; off: they bend paths alone.
        refine: flow is searched from the points' motion; off: their motion is taken as it is.
    """

    def __init__(
        self,
        pictures: Pictures,
        points: _Points | None = None,
        curved: bool = True,
        mend: bool = True,
        refine: bool = True,
    ) -> None:
        self._pictures, self._points = pictures, points
        self._curved, self._mend, self._refine = curved, mend, refine
        self._flow = DenseFlow()
        self._ways: OrderedDict[tuple[int, int], _Ways] = OrderedDict()

    def between(self, i: int, j: int) -> Motion:
        """The motion between frames i < j that follow each other in a shot.

        Raises:
            InputError: they do not.
        """
        before, after = self._pictures.around(i, j, BEYOND)
        ways, seen = self._mended(i, j), None if self._points is None else self._points.around(i, j)
        visible = (visibility(ways.forth, ways.back), visibility(ways.back, ways.forth))
        curves: tuple[Float32 | None, Float32 | None] = (None, None)
        if self._curved and (before or after):
            curves = self._curves(i, j, before, after, ways, visible, seen)
        sides = [
            self._side(flow, curve, sight)
            for flow, curve, sight in zip((ways.forth, ways.back), curves, visible, strict=True)
        ]
        return Motion(*sides)

    def _mended(self, i: int, j: int) -> _Ways:
        """Flow between two frames, tracked points having their say."""
        plain = self._plain(i, j)
        if self._points is None or not self._mend:
            return plain
        key = (i, j)
        if key not in self._ways:
            self._ways[key] = self._by_points(i, j, plain, self._points.around(i, j))
        return _kept(self._ways, key)

    def _plain(self, i: int, j: int) -> _Ways:
        key = (-1 - i, j)  # beside the mended ones
        if key not in self._ways:
            here, there = self._pictures.grey(i), self._pictures.grey(j)
            self._ways[key] = _Ways(self._flow(here, there), self._flow(there, here))
        return _kept(self._ways, key)

    def _by_points(self, i: int, j: int, plain: _Ways, seen: Seen) -> _Ways:
        (here, v), (there, u) = seen.at(i), seen.at(j)
        both = np.minimum(v, u)
        use = both > 0.5
        if use.sum() < _LEAST:
            return plain
        candidates: list[list[Float32]] = []
        for t, start, end, default in ((i, here, there, plain.forth), (j, there, here, plain.back)):
            spread = self._spreader(t, start[use], both[use])
            rough = spread((end - start)[use])
            if self._refine:
                other = j if t == i else i
                rough = self._flow(self._pictures.grey(t), self._pictures.grey(other), rough)
            candidates.append([default, rough])
        forth, back = candidates
        return _Ways(*choose(self._pictures.colour(i), self._pictures.colour(j), forth, back))

    def _spreader(self, t: int, points: Float32, trust: Float32) -> Spreader:
        assert self._points is not None
        return Spreader(self._pictures.colour(t), points, trust, self._points.spacing)

    def _curves(
        self,
        i: int,
        j: int,
        before: Sequence[int],
        after: Sequence[int],
        ways: _Ways,
        visible: tuple[Float32, Float32],
        seen: Seen | None,
    ) -> tuple[Float32, Float32]:
        """How far paths from i and from j are bent: by flow through the nearest frames, and by points through more."""
        sigma = 10.0 * self._pictures.size[0] / 720
        sums = [np.zeros_like(ways.forth), np.zeros_like(ways.back)]
        masses = [np.full(visible[0].shape, 1e-3, np.float32) for _ in sums]
        flows = (ways.forth, ways.back)
        for side, third in ((0, before[:1]), (1, after[:1])):
            if not third:
                continue
            curve, mass = self._by_third(i, j, side, third[0], flows[side], visible[side], sigma)
            sums[side] += curve * mass[..., None]
            masses[side] += mass
            # The same paths as seen from the other frame.
            other = 1 - side
            carried = warp_backward(mass, flows[other]) * visible[other]
            sums[other] += warp_backward(curve, flows[other]) * carried[..., None]
            masses[other] += carried
        curves = [total / mass[..., None] for total, mass in zip(sums, masses, strict=True)]
        if seen is not None:
            found = self._by_positions(i, j, before, after, seen)
            if found is not None:
                curves = [(1 - w[..., None]) * c + w[..., None] * p for c, (p, w) in zip(curves, found, strict=True)]
            curves = [np.float32(seen.faith) * c for c in curves]
        if not (before and after):
            curves = [np.float32(_AT_ENDS) * c for c in curves]
        return curves[0], curves[1]

    def _by_third(
        self, i: int, j: int, side: int, third: int, flow: Float32, visible: Float32, sigma: float
    ) -> tuple[Float32, Float32]:
        """The curve of the paths from i (side 0) or j (side 1), and how far it is known."""
        t, low, high = (i, third, i) if side == 0 else (j, j, third)
        ways = self._plain(low, high)
        to, back = (ways.back, ways.forth) if side == 0 else (ways.forth, ways.back)
        place = self._place(third, t, j if side == 0 else i)
        curve = from_third(flow, to, place)
        return smoothed(curve, np.asarray(visible * visibility(to, back), np.float32), sigma)

    def _place(self, t: int, start: int, end: int) -> float:
        """Where frame t lies on the way from frame `start`, 0, to `end`, 1."""
        pts = self._pictures.video.info.pts
        return float((pts[t] - pts[start]) / (pts[end] - pts[start]))

    def _by_positions(
        self, i: int, j: int, before: Sequence[int], after: Sequence[int], seen: Seen
    ) -> tuple[tuple[Float32, Float32], ...] | None:
        """Curves of both sides from points' positions, and the part they should have; None: too few points."""
        points = np.zeros((len(seen.xy), 2))
        trust = np.zeros(len(points), np.float32)
        # Through as many frames as a point is seen in: 2 + 2 around the pair, 1 + 1, or one of them.
        for reach in ((1, 0), (0, 1), (1, 1), (2, 2)):
            frames = [*before[: reach[0]][::-1], i, j, *after[: reach[1]]]
            if len(frames) != sum(reach) + 2:
                continue
            columns = [seen.frames.index(t) for t in frames]
            visible = seen.visibility[:, columns].min(1)
            use = visible > 0.5
            points[use] = from_positions(seen.xy[use][:, columns], [self._place(t, i, j) for t in frames])
            trust[use] = visible[use]
        use = trust > 0
        if use.sum() < _LEAST:
            return None
        found = []
        for t in (i, j):
            spread = self._spreader(t, seen.at(t)[0][use], trust[use])
            found.append((spread(points[use]), _SAY * spread.support))
        return tuple(found)

    def _side(self, flow: Float32, curve: Float32 | None, sight: Float32) -> Side:
        return Side(self._full(flow, True), self._full(sight)[0], None if curve is None else self._full(curve, True))

    def _full(self, field: Float32, scaled: bool = False) -> torch.Tensor:
        """A field [h, w(, 2)] at the video's own size [C, H, W]; displacements grow with it."""
        info, (h, w) = self._pictures.video.info, self._pictures.size
        if (h, w) != (info.height, info.width):
            field = np.asarray(cv2.resize(field, (info.width, info.height), interpolation=cv2.INTER_LINEAR), np.float32)
            if scaled:
                field = field * np.array([info.width / w, info.height / h], np.float32)
        return torch.from_numpy(np.ascontiguousarray(field.reshape(info.height, info.width, -1).transpose(2, 0, 1)))


def _kept(ways: OrderedDict[tuple[int, int], _Ways], key: tuple[int, int]) -> _Ways:
    ways.move_to_end(key)
    while len(ways) > _KEPT:
        ways.popitem(last=False)
    return ways[key]


def make_flow(
    video: Video,
    config: InterpConfig,
    *,
    cuts: Sequence[int] = (),
    duplicates: Sequence[int] = (),
    device: str = "cpu",
    **_: Any,
) -> Synthesis:
    """Frames by flow alone; see `methods.make_between`."""
    return Synthesis(video, _DenseMotion(Pictures(video, cuts, duplicates), curved=config.curved), device)


def make_tracks(
    video: Video,
    config: InterpConfig,
    *,
    tracks: Tracks | None = None,
    cuts: Sequence[int] = (),
    duplicates: Sequence[int] = (),
    tracker: PointTracker | str,
    segmenter: PointSegmenter | str,
    device: str = "cpu",
) -> Synthesis:
    """Frames by flow and tracked points; see `methods.make_between`."""
    pictures = Pictures(video, cuts, duplicates, config.stretch + 2 * BEYOND + 4)
    points: _Points
    if tracks is not None:
        points = GivenPoints(pictures, tracks)
    else:
        ime = ImeConfig(cuts=False) if config.ime else ImeConfig.plain(cuts=False)
        points = FollowedPoints(pictures, tracker, segmenter, config.points, config.stretch, ime, device)
    source = _DenseMotion(pictures, points, config.curved, config.mend, config.refine)
    return Synthesis(video, source, device)
