"""The dense motion between two frames, from which new frames are splatted.

Optical flow both ways, corrected by tracked points (flow correction: `InterpConfig.mend`), with quadratic motion
estimated from the frames before and after.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from trackime.arrays import Float32
from trackime.imaging import DenseFlow, flow_magnitude, forward_backward_error, lands_inside, warp_backward
from trackime.video import MotionFrames

from ._local_affine import LocalAffine
from ._quadratic_motion import from_positions, from_third_frame, weighted_blur
from ._select_flow import select_flow
from ._tracked_points import CONTEXT, NearbyTracks, PointSource
from .motion import FrameMotion, PairMotion

_POINTS_SHARE = 0.7
"""Weight of points against flow in quadratic motion, where they are near."""
_AT_ENDS = 0.25
"""Weight of quadratic motion at a shot's ends, where it depends on one frame, which camera shake may have moved."""
_KEPT = 4
_LEAST = 4  # points needed to interpolate between them


@dataclass(frozen=True)
class _FlowPair:
    """Flows [h, w, 2] between two frames: from the earlier to the later one, and back."""

    forward: Float32
    backward: Float32


@dataclass(frozen=True)
class _Pair:
    """Two neighbouring frames and what quadratic motion is estimated from.

    Attributes:
        frames: indices i < j.
        before, after: up to `CONTEXT` frames of the shot before i, nearest first, and after j.
        flow: between them.
        visible: probabilities [h, w] that pixels of i are visible in j, and those of j in i.
        nearby: tracked points, or None.
    """

    frames: tuple[int, int]
    before: Sequence[int]
    after: Sequence[int]
    flow: _FlowPair
    visible: tuple[Float32, Float32]
    nearby: NearbyTracks | None


def visibility(flow: Float32, back: Float32) -> Float32:
    """The probability [h, w] that a pixel is visible in the other frame, from forward-backward consistency.

    The tolerance grows with the displacement, by a twentieth of it (a smooth version of the test of Sundaram, Brox and
    Keutzer, Dense point trajectories by GPU-accelerated large displacement optical flow, ECCV 2010). Pixels that leave
    the frame are not visible.

    Args:
        flow: float32 [h, w, 2] to the other frame, (dx, dy) in pixels.
        back: float32 [h, w, 2] from the other frame to this one.
    """
    allowed = 0.5 + 0.05 * (flow_magnitude(flow) + flow_magnitude(warp_backward(back, flow)))
    visible = np.exp(-((forward_backward_error(flow, back) / allowed) ** 2) / 2)
    return np.asarray(np.where(lands_inside(flow), visible, 0), np.float32)


class FlowEstimator:
    """Estimates the motion between neighbouring frames of a shot. A `MotionSource`.

    Args:
        frames: the frames.
        points: tracked points, or None: flow alone.
        curved: quadratic motion; off: straight paths.
        correct: points correct the flow; off: they only contribute to quadratic motion.
        refine: flow is refined from the points' interpolated motion; off: that motion is used as it is.
    """

    def __init__(
        self,
        frames: MotionFrames,
        points: PointSource | None = None,
        curved: bool = True,
        correct: bool = True,
        refine: bool = True,
    ) -> None:
        self._frames, self._points = frames, points
        self._curved, self._correct, self._refine = curved, correct, refine
        self._dis = DenseFlow()
        self._plain: OrderedDict[tuple[int, int], _FlowPair] = OrderedDict()

    def between(self, i: int, j: int) -> PairMotion:
        """The motion between frames i < j that follow each other in a shot.

        Raises:
            InputError: they do not.
        """
        before, after = self._frames.around(i, j, CONTEXT)
        nearby = None if self._points is None else self._points.around(i, j)
        flow = self._plain_flow(i, j)
        if nearby is not None and self._correct:
            flow = self._corrected(i, j, flow, nearby)
        visible = (visibility(flow.forward, flow.backward), visibility(flow.backward, flow.forward))
        quadratic: tuple[Float32 | None, Float32 | None] = (None, None)
        if self._curved and (before or after):
            quadratic = self._quadratic(_Pair((i, j), before, after, flow, visible, nearby))
        return PairMotion(
            self._motion(flow.forward, visible[0], quadratic[0]), self._motion(flow.backward, visible[1], quadratic[1])
        )

    def _plain_flow(self, i: int, j: int) -> _FlowPair:
        """Optical flow between two frames, kept for the next pairs."""
        if (i, j) not in self._plain:
            here, there = self._frames.grey(i), self._frames.grey(j)
            self._plain[i, j] = _FlowPair(self._dis(here, there), self._dis(there, here))
        self._plain.move_to_end((i, j))
        while len(self._plain) > _KEPT:
            self._plain.popitem(last=False)
        return self._plain[i, j]

    def _corrected(self, i: int, j: int, plain: _FlowPair, nearby: NearbyTracks) -> _FlowPair:
        """At each pixel the plain flow, or one that begins from the points' motion, whichever fits better."""
        (here, v), (there, u) = nearby.at(i), nearby.at(j)
        both = np.minimum(v, u)
        use = both > 0.5
        if use.sum() < _LEAST:
            return plain
        candidates: list[list[Float32]] = []
        for t, other, start, end, default in ((i, j, here, there, plain.forward), (j, i, there, here, plain.backward)):
            dense = self._interpolation(t, start[use], both[use])((end - start)[use])
            if self._refine:
                dense = self._dis(self._frames.grey(t), self._frames.grey(other), dense)
            candidates.append([default, dense])
        forward, backward = candidates
        return _FlowPair(*select_flow(self._frames.colour(i), self._frames.colour(j), forward, backward))

    def _interpolation(self, t: int, points: Float32, weights: Float32) -> LocalAffine:
        assert self._points is not None
        return LocalAffine(self._frames.colour(t), points, weights, self._points.spacing)

    def _quadratic(self, pair: _Pair) -> tuple[Float32, Float32]:
        """Quadratic terms [h, w, 2] of the paths from i and from j: by flow through a third frame, and by points."""
        flows = (pair.flow.forward, pair.flow.backward)
        sums = [np.zeros_like(flow) for flow in flows]
        masses = [np.full(seen.shape, 1e-3, np.float32) for seen in pair.visible]
        for side, third in ((0, pair.before[:1]), (1, pair.after[:1])):
            if not third:
                continue
            term, mass = self._by_third_frame(pair, side, third[0])
            sums[side] += term * mass[..., None]
            masses[side] += mass
            # The same paths, warped to the other frame.
            other = 1 - side
            carried = warp_backward(mass, flows[other]) * pair.visible[other]
            sums[other] += warp_backward(term, flows[other]) * carried[..., None]
            masses[other] += carried
        terms = [total / mass[..., None] for total, mass in zip(sums, masses, strict=True)]
        if pair.nearby is not None:
            found = self._by_positions(pair, pair.nearby)
            if found is not None:
                terms = [(1 - w[..., None]) * c + w[..., None] * p for c, (p, w) in zip(terms, found, strict=True)]
            terms = [np.float32(pair.nearby.confidence) * c for c in terms]
        if not (pair.before and pair.after):
            terms = [np.float32(_AT_ENDS) * c for c in terms]
        return terms[0], terms[1]

    def _by_third_frame(self, pair: _Pair, side: int, third: int) -> tuple[Float32, Float32]:
        """The quadratic term of the paths from i (side 0) or j (side 1), and its weight [h, w], both smooth."""
        i, j = pair.frames
        t, end, low, high = (i, j, third, i) if side == 0 else (j, i, j, third)
        plain = self._plain_flow(low, high)
        to, back = (plain.backward, plain.forward) if side == 0 else (plain.forward, plain.backward)
        flow = pair.flow.forward if side == 0 else pair.flow.backward
        term = from_third_frame(flow, to, self._time(third, t, end))
        sigma = 10.0 * self._frames.size[0] / 720
        return weighted_blur(term, np.asarray(pair.visible[side] * visibility(to, back), np.float32), sigma)

    def _time(self, t: int, start: int, end: int) -> float:
        """The time of frame t where frame `start` is at 0 and frame `end` at 1."""
        pts = self._frames.video.info.pts
        return float((pts[t] - pts[start]) / (pts[end] - pts[start]))

    def _by_positions(self, pair: _Pair, nearby: NearbyTracks) -> tuple[tuple[Float32, Float32], ...] | None:
        """Quadratic terms of both sides from points' positions, with their weights; None: too few points."""
        i, j = pair.frames
        terms = np.zeros((len(nearby.xy), 2))
        weights = np.zeros(len(terms), np.float32)
        # Through as many frames as a point is visible in: 2 + 2 around the pair, 1 + 1, or one of them.
        for before, after in ((1, 0), (0, 1), (1, 1), (2, 2)):
            frames = [*pair.before[:before][::-1], i, j, *pair.after[:after]]
            if len(frames) != before + after + 2:
                continue
            columns = [nearby.frames.index(t) for t in frames]
            visible = nearby.visibility[:, columns].min(1)
            use = visible > 0.5
            terms[use] = from_positions(nearby.xy[use][:, columns], [self._time(t, i, j) for t in frames])
            weights[use] = visible[use]
        use = weights > 0
        if use.sum() < _LEAST:
            return None
        found = []
        for t in (i, j):
            interpolation = self._interpolation(t, nearby.at(t)[0][use], weights[use])
            found.append((interpolation(terms[use]), _POINTS_SHARE * interpolation.support))
        return tuple(found)

    def _motion(self, flow: Float32, visible: Float32, quadratic: Float32 | None) -> FrameMotion:
        term = None if quadratic is None else self._resized(quadratic, True)
        return FrameMotion(self._resized(flow, True), self._resized(visible)[0], term)

    def _resized(self, field: Float32, displacement: bool = False) -> torch.Tensor:
        """A field [h, w(, 2)] at the video's own size [C, H, W]; displacements are scaled with it."""
        info, (h, w) = self._frames.video.info, self._frames.size
        if (h, w) != (info.height, info.width):
            field = np.asarray(cv2.resize(field, (info.width, info.height), interpolation=cv2.INTER_LINEAR), np.float32)
            if displacement:
                field = field * np.array([info.width / w, info.height / h], np.float32)
        return torch.from_numpy(np.ascontiguousarray(field.reshape(info.height, info.width, -1).transpose(2, 0, 1)))
