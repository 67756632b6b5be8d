"""All objects of a video propagated frame by frame in one direction of time, competing for pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from trackime.arrays import BoolArray, Float32, FloatArray, UInt8
from trackime.imaging import guided_filter, to_lab
from trackime.types import Tracks
from trackime.video import Video

from ._cut import CutFrame, MaskPrior
from ._object import MaskEstimate, ObjectMemory
from ._points import ObjectPoints, PointTracks
from ._prompted import PointPrompter, PredictedMask, PromptPoints
from ._track import Models
from ._warp import FlowWarper
from .config import VosConfig

_CONFIDENT = 0.85
"""Objects of more confidence than this get new points."""


def working_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(h, w) of the frames that are cut: the longer side at most `side`, 0: as they are."""
    scale = 1.0 if side == 0 else min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def make_propagator(
    video: Video, tracks: Tracks, models: Models, objects: Sequence[int], backward: bool = False
) -> Propagator:
    """Objects of a video, before their first frame in a direction of time."""
    config, segmenter = models.config, models.segmenter
    prompter = None if segmenter.name == "graphcut" else PointPrompter(segmenter, config.prompts)
    points = PointTracks(config, tracks, models.follower(video), backward)
    return Propagator(config, objects, points, (video.info.height, video.info.width), prompter)


class Propagator:
    """Objects propagated frame by frame; they compete for pixels, so that a pixel has one id.

    Args:
        config: the switches.
        objects: ids of all objects.
        points: those of all objects and of the background.
        size: (H, W) of the video.
        prompter: a segmenter prompted in every frame with the tracked points; None: the cut alone.
    """

    def __init__(
        self,
        config: VosConfig,
        objects: Sequence[int],
        points: PointTracks,
        size: tuple[int, int],
        prompter: PointPrompter | None = None,
    ) -> None:
        self.config, self.objects, self.points = config, tuple(objects), points
        self.size, self.prompter = size, prompter
        self.work = working_size(size, config.side)  # (h, w) of the cut
        self._scale = np.array([self.work[1] / size[1], self.work[0] / size[0]])
        self._memories: dict[int, ObjectMemory] = {}
        self._previous: CutFrame | None = None
        self._pending: CutFrame | None = None
        self._flow = FlowWarper()

    def step(self, t: int, frame: UInt8, given: Mapping[int, BoolArray]) -> tuple[UInt8, Float32]:
        """The next frame's ids uint8 [H, W] and confidence [objects].

        Args:
            t: its index.
            frame: uint8 [H, W, 3].
            given: masks bool [H, W] that prompts give of some objects; they are taken as they are.
        """
        shrunk = self._cut_frame(t, frame)
        tracked = self.points.at(t)
        points = {k: tracked.of(k, self._scale) for k in self.objects}
        known = {k: points[k] for k in self._memories if k not in given}
        estimates = self._estimates(shrunk, frame, known)
        shown = {k: estimate for k, estimate in estimates.items() if self._shows(estimate)}
        small = self._compete({k: estimate.logits for k, estimate in shown.items()}, self.work)
        ids = self._full_size(shown, frame)
        for k, mask in given.items():
            ids[mask] = k
            small[_shrink(mask, self.work)] = k
        for k in given:
            self._remember(k, shrunk, small == k, points[k])
        confidence = dict.fromkeys(self.objects, 0.0) | dict.fromkeys(given, 1.0)
        for k, estimate in estimates.items():
            mask, value = small == k, estimate.confidence
            if k in shown:
                confidence[k] = value = value if mask.any() else 0.0
            else:  # left out of the frame, but remembered where it may be
                mask = estimate.mask & (small == 0)
            self._memories[k].accept(shrunk, mask, value, points[k], estimate.support)
        if self.points.due(t):
            self._add_points(shrunk, ids, [k for k, value in confidence.items() if value > _CONFIDENT])
        self._previous, self._pending = shrunk, None
        return ids, np.array([*confidence.values()], np.float32)

    def _remember(self, k: int, frame: CutFrame, mask: BoolArray, points: ObjectPoints) -> None:
        """Remember a mask bool [h, w] that a prompt gave."""
        if k in self._memories:
            self._memories[k].accept(frame, mask, 1.0, points)
        else:
            self._memories[k] = ObjectMemory(self.config, frame, mask, points)

    def predict(self, t: int, frame: UInt8) -> dict[int, BoolArray]:
        """Masks bool [H, W] of the objects in frame t as `step` without prompts would find them; changes nothing."""
        tracked = self.points.at(t)
        points = {k: tracked.of(k, self._scale) for k in self._memories}
        estimates = self._estimates(self._cut_frame(t, frame), frame, points)
        ids = self._full_size({k: e for k, e in estimates.items() if self._shows(e)}, frame)
        return {k: ids == k for k in self._memories}

    def _add_points(self, frame: CutFrame, ids: UInt8, objects: list[int]) -> None:
        """Add points on objects, which remember them from this frame on."""
        if self.points.add(frame.t, ids, objects):
            tracked = self.points.at(frame.t)
            for k in objects:
                self._memories[k].add_points(frame, tracked.of(k, self._scale))

    def _shows(self, estimate: MaskEstimate) -> bool:
        """Whether an object is confident enough to be in the frame's result."""
        return bool(estimate.mask.any()) and estimate.confidence >= self.config.abstain

    def _cut_frame(self, t: int, frame: UInt8) -> CutFrame:
        if self._pending is None or self._pending.t != t:
            self._pending = CutFrame(t, frame, self.work, self.config.smoothing)
            if self.config.flow and self._memories:
                self._pending.find_flow(self._previous, self._flow)
        return self._pending

    def _estimates(self, shrunk: CutFrame, frame: UInt8, points: Mapping[int, ObjectPoints]) -> dict[int, MaskEstimate]:
        """The masks of objects with these points."""
        priors = {k: self._memories[k].prior(shrunk, own) for k, own in points.items()}
        predicted: dict[int, PredictedMask] = {}
        if self.prompter is not None:
            predicted = self.prompter.predict(frame, {k: self._prompt(prior) for k, prior in priors.items()})
        return {k: self._memories[k].estimate(shrunk, prior, predicted.get(k)) for k, prior in priors.items()}

    def _prompt(self, prior: MaskPrior) -> PromptPoints:
        """The prompts of a segmenter, with which its masks are also compared, in pixels of the video."""
        points, propagated = prior.points, None
        if prior.evidence is not None:
            propagated = _resize(prior.evidence, self.size) > 0
        scale = np.array([self.size[1] / self.work[1], self.size[0] / self.work[0]])
        use = points.visible
        return PromptPoints(points.xy[use] * scale, points.visibility[use], points.off * scale, propagated)

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

    def _full_size(self, estimates: Mapping[int, MaskEstimate], frame: UInt8) -> UInt8:
        """Ids at the video's own size, borders refined to the frame's own edges where a smaller one was cut."""
        fine = {k: np.clip(e.fine, -4, 4) for k, e in estimates.items() if e.fine is not None}
        if self.work == self.size:
            return self._compete({k: fine.get(k, e.logits) for k, e in estimates.items()}, self.size)
        guide = np.asarray(to_lab(frame)[..., 0] / 100, np.float32) if len(fine) < len(estimates) else None
        radius = max(2, round(1.5 * self.size[1] / self.work[1]))
        for k, estimate in estimates.items():
            if k not in fine and guide is not None:
                # Clipped, or certain pixels far away would outvote the border under the filter.
                fine[k] = guided_filter(_resize(np.clip(estimate.logits, -4, 4), self.size), guide, radius)
        return self._compete(fine, self.size)


def _resize(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    return np.asarray(cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), values.dtype)


def _shrink(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    """A mask at the size of the cut: pixels at least half covered, or the most covered one."""
    if mask.shape == size:
        return mask
    share = cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(share >= min(0.5, float(share.max()))) & (share > 0)
