"""All objects of a video on their way through its frames in one direction of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from trackime.arrays import BoolArray, FloatArray, UInt8
from trackime.imaging import guided_filter, to_lab

from ._carry import FlowCarrier
from ._prompted import Adviser, Answer, Tracked
from ._propagate import Belief, Expected, ObjectState, Scene, Sight
from ._reseed import Points, Seen
from .config import VosConfig
from .queries import BACKGROUND

SURE = 0.85
"""Objects of more confidence than this get new points."""


def working_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(h, w) of the frames the cut sees: the longer side at most `side`, 0: as they are."""
    scale = 1.0 if side == 0 else min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


class Direction:
    """Objects followed frame by frame; they compete for pixels, so that a pixel has one id.

    Args:
        config: the switches.
        objects: ids of all objects.
        points: those of all objects and of the background.
        work: (h, w) of the frames the cut sees.
        size: (H, W) of the video.
        adviser: a segmenter asked in every frame with the tracked points; None: the cut stands alone.
    """

    def __init__(
        self,
        config: VosConfig,
        objects: Sequence[int],
        points: Points,
        work: tuple[int, int],
        size: tuple[int, int],
        adviser: Adviser | None = None,
    ) -> None:
        self.config, self.objects, self.points = config, tuple(objects), points
        self.work, self.size, self.adviser = work, size, adviser
        self._states: dict[int, ObjectState] = {}
        self._previous: Scene | None = None
        self._pending: Scene | None = None
        self._flow = FlowCarrier()

    def step(self, t: int, frame: UInt8, stated: Mapping[int, BoolArray]) -> tuple[UInt8, FloatArray]:
        """The next frame's ids uint8 [H, W] and confidence [objects].

        Args:
            t: its index.
            frame: uint8 [H, W, 3].
            stated: masks bool [H, W] that prompts give of some objects; they stand as they are.
        """
        scene = self._scene(t, frame)
        seen = self.points.at(t)
        sights = {k: self._sight(seen, k) for k in self.objects}
        beliefs = self._beliefs(scene, frame, sights, stated)
        shown = {k: b for k, b in beliefs.items() if self._shows(b)}
        small = self._compete({k: b.logits for k, b in shown.items()}, self.work)
        ids = self._full(shown, frame)
        for k, mask in stated.items():
            ids[mask] = k
            small[_shrink(mask, self.work)] = k
        confidence = np.zeros(len(self.objects), np.float32)
        for index, k in enumerate(self.objects):
            mask = small == k
            if k in stated and k not in self._states:
                self._states[k] = ObjectState(self.config, scene, mask, sights[k])
                confidence[index] = 1.0
            elif k in stated:
                self._states[k].accept(scene, mask, 1.0, sights[k])
                confidence[index] = 1.0
            elif k in shown:
                confidence[index] = beliefs[k].confidence if mask.any() else 0.0
                self._states[k].accept(scene, mask, float(confidence[index]), sights[k], beliefs[k].support)
            elif k in beliefs:
                # Left out of the frame, but remembered where it may be, for when more speaks for it.
                belief = beliefs[k]
                free = belief.mask & (small == 0)
                self._states[k].accept(scene, free, belief.confidence, sights[k], belief.support)
        if self.points.due(t):
            self._reseed(scene, ids, confidence)
        self._previous, self._pending = scene, None
        return ids, confidence

    def _reseed(self, scene: Scene, ids: UInt8, confidence: FloatArray) -> None:
        """New points on objects that are surely right, known to them from this frame on."""
        sure = [k for k, value in zip(self.objects, confidence.tolist(), strict=True) if value > SURE]
        if self.points.add(scene.t, ids, sure):
            seen = self.points.at(scene.t)
            for k in sure:
                self._states[k].meet(scene, self._sight(seen, k))

    def look(self, t: int, frame: UInt8) -> dict[int, BoolArray]:
        """Masks bool [H, W] of the objects in frame t as `step` without prompts would find them; changes nothing."""
        scene = self._scene(t, frame)
        seen = self.points.at(t)
        sights = {k: self._sight(seen, k) for k in self._states}
        beliefs = self._beliefs(scene, frame, sights, {})
        ids = self._full({k: b for k, b in beliefs.items() if self._shows(b)}, frame)
        return {k: ids == k for k in self._states}

    def _shows(self, belief: Belief) -> bool:
        """Whether an object is sure enough to be in the frame's result."""
        return bool(belief.mask.any()) and belief.confidence >= self.config.abstain

    def _scene(self, t: int, frame: UInt8) -> Scene:
        if self._pending is None or self._pending.t != t:
            self._pending = Scene(t, frame, self.work, self.config.smoothing)
            if self.config.flow and self._states:
                self._pending.follow(self._previous, self._flow)
        return self._pending

    def _beliefs(
        self, scene: Scene, frame: UInt8, sights: Mapping[int, Sight], stated: Mapping[int, BoolArray]
    ) -> dict[int, Belief]:
        """What is thought of every object on its way that no prompt states."""
        expected = {k: state.expect(scene, sights[k]) for k, state in self._states.items() if k not in stated}
        answers: dict[int, Answer] = {}
        if self.adviser is not None:
            answers = self.adviser.ask(frame, {k: self._tracked(e) for k, e in expected.items()})
        return {k: self._states[k].cut(scene, e, answers.get(k)) for k, e in expected.items()}

    def _tracked(self, expected: Expected) -> Tracked:
        """What an adviser may know, in pixels of the video."""
        scale = np.array([self.size[1] / self.work[1], self.size[0] / self.work[0]])
        sight, carried = expected.sight, None
        if expected.prior is not None:
            carried = cv2.resize(expected.prior, (self.size[1], self.size[0]), interpolation=cv2.INTER_LINEAR) > 0
        use = sight.visibility > 0.5
        return Tracked(sight.xy[use] * scale, sight.visibility[use], sight.off * scale, carried)

    def _sight(self, seen: Seen, identity: int) -> Sight:
        """An object's points in a frame, and all visible points that are on something else."""
        scale = np.array([self.work[1] / self.size[1], self.work[0] / self.size[0]])
        xy, visibility = seen.xy * scale, seen.visibility
        own = seen.instance == identity
        other = (seen.instance >= BACKGROUND) & ~own & (visibility > 0.5)
        return Sight(xy[own], visibility[own], xy[other], seen.who[own])

    def _compete(self, logits: Mapping[int, FloatArray], size: tuple[int, int]) -> UInt8:
        """The likeliest object of each pixel where its probability is above the threshold, else 0."""
        ids = np.zeros(size, np.uint8)
        threshold = np.clip(self.config.threshold, 1e-4, 1 - 1e-4)
        best = np.full(size, np.log(threshold / (1 - threshold)), np.float32)
        for k, values in logits.items():
            better = values > best
            ids[better] = k
            best = np.where(better, values, best)
        return ids

    def _full(self, beliefs: Mapping[int, Belief], frame: UInt8) -> UInt8:
        """Ids at the video's own size, borders drawn to the frame's own edges where the cut saw a smaller one."""
        shown = {k: b for k, b in beliefs.items() if b.mask.any()}
        fine = {k: np.clip(b.fine, -4, 4) for k, b in shown.items() if b.fine is not None}
        if self.work == self.size:
            return self._compete({k: fine.get(k, b.logits) for k, b in shown.items()}, self.size)
        guide = np.asarray(to_lab(frame)[..., 0] / 100, np.float32) if len(fine) < len(shown) else None
        radius = max(2, round(1.5 * self.size[1] / self.work[1]))
        for k, belief in shown.items():
            if k not in fine and guide is not None:
                # Cut off, or far certainties would outvote the border under the filter.
                near = np.clip(belief.logits, -4, 4)
                size = (self.size[1], self.size[0])
                near = np.asarray(cv2.resize(near, size, interpolation=cv2.INTER_LINEAR), near.dtype)
                fine[k] = guided_filter(near, guide, radius)
        return self._compete(fine, self.size)


def _shrink(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    """A mask at the size of the cut: pixels at least half covered, or the most covered one."""
    if mask.shape == size:
        return mask
    share = cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(share >= min(0.5, float(share.max()))) & (share > 0)
