"""One object's mask, frame after frame: propagated from earlier frames, cut, and judged.

In each frame the object's earlier masks are propagated to it (from the frame before, from the last confident frame,
and from the first, by the tracks; from the frame before by flow as well) and averaged into one prior: the mean of
their signed distances, each over its own uncertainty. `_cut` draws the border where the prior leaves a doubt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from trackime.arrays import BoolArray, FloatArray, UInt8, ids_at, inside, pixels_at

from ._appearance import Appearance, colours_at
from ._cut import FAR, LEAST, CutFrame, MaskPrior, clipped_distance, cut
from ._points import ObjectPoints
from ._prompted import TRUST, PredictedMask, shrunk
from ._warp import warp_by_points
from .config import VosConfig

_GONE = 0.08
"""Weight of a point that became hidden, relative to a visible one outside its object's mask."""

_MILD = 0.25
"""Power of colours and overlap in the confidence: on tuning videos points alone rank masks better than both."""

_SIGMA = (2.0, 15.0)
"""Least and largest uncertainty of a propagated mask's border, pixels of the cut frame."""


@dataclass(frozen=True)
class _ReferenceMask:
    """A frame whose mask is propagated to others: its index, signed distance [h, w] and the object's points."""

    t: int
    distance: FloatArray
    points: ObjectPoints


@dataclass(frozen=True)
class MaskEstimate:
    """The estimated mask of one object in one frame.

    Attributes:
        mask: bool [h, w].
        logits: [h, w], by which objects compete for pixels.
        confidence: in [0, 1]; 0 where the mask is empty.
        support: share of its points that are found in it, those of earlier frames weighted a little.
        fine: [H, W] logits at the video's own size; None: the cut's are refined to the frame's edges.
    """

    mask: BoolArray
    logits: FloatArray
    confidence: float
    support: float
    fine: FloatArray | None = None


class ObjectMemory:
    """The state of one object while it is propagated from its first mask on.

    Args:
        config: the switches.
        frame: the first frame.
        mask: bool [h, w], the first mask.
        points: the object's points there.
    """

    def __init__(self, config: VosConfig, frame: CutFrame, mask: BoolArray, points: ObjectPoints) -> None:
        self.config = config
        self.confidence = self.support = 1.0
        self.appearance = Appearance(config, frame.lab, mask)
        self._colours: dict[int, FloatArray] = {}
        self._refused: set[int] = set()
        self._refuse(mask, points)
        reference = _ReferenceMask(frame.t, clipped_distance(mask), self._plausible(frame, points))
        self.first = self.confident = self.last = reference

    def prior(self, frame: CutFrame, points: ObjectPoints) -> MaskPrior:
        """The object's masks of other frames propagated to the next frame."""
        points = self._plausible(frame, points)
        evidence, sigma = self._propagated(frame, points)
        if evidence is not None and not (evidence > 0).any():
            evidence = None
        return MaskPrior(points, evidence, sigma)

    def estimate(self, frame: CutFrame, prior: MaskPrior, predicted: PredictedMask | None = None) -> MaskEstimate:
        """The object in the next frame. Call `accept` with the mask that is left of it before the next frame.

        Args:
            frame: the frame.
            prior: of it.
            predicted: another segmenter's mask, or None.
        """
        points, evidence, sigma = prior.points, prior.evidence, prior.sigma
        if predicted is not None:
            vote = shrunk(predicted.logits, frame.grey.shape)
            if predicted.agreement > TRUST:
                # The network's mask uses more than colours and the tracks confirm it: the cut would not improve it.
                mask = vote > 0
                ratio = self.appearance.ratio(frame.lab, mask)
                propagated = mask if evidence is None else evidence > 0
                confidence, support = self._judge(mask, propagated, ratio, points)
                return MaskEstimate(mask, np.asarray(vote, np.float32), confidence, support, predicted.logits)
            vote = np.clip(vote * predicted.agreement, -self.config.shape, self.config.shape)
            evidence, sigma = (vote, _SIGMA[1]) if evidence is None else (evidence + vote, sigma)
        if evidence is None or not (evidence > 0).any():
            nothing = np.zeros(frame.grey.shape, bool)
            return MaskEstimate(nothing, np.full(nothing.shape, LEAST, np.float32), 0.0, self._support(0, 0, points))
        found = cut(frame, points, evidence, sigma, self.appearance, self.config)
        confidence, support = self._judge(found.mask, evidence > 0, found.ratio, points)
        return MaskEstimate(found.mask, found.logits, confidence, support)

    def accept(
        self, frame: CutFrame, mask: BoolArray, confidence: float, points: ObjectPoints, support: float | None = None
    ) -> None:
        """Remember the mask that the object was left with after competing for pixels.

        Args:
            frame: the frame.
            mask: bool [h, w].
            confidence: of the mask.
            points: the object's points.
            support: as the estimate has it; None: a prompt gave the mask.
        """
        given = support is None
        if given:
            self._refuse(mask, points)
        self.confidence, self.support = confidence, 1.0 if support is None else support
        # A lost object's mask is not propagated: it would be background soon. Its points find it again.
        lost = not given and confidence < self.config.abstain
        distance = np.full(mask.shape, -FAR, np.float32) if lost else clipped_distance(mask)
        self.last = _ReferenceMask(frame.t, distance, self._plausible(frame, points))
        if given or (confidence > 0.6 and abs(frame.t - self.confident.t) >= 4):
            self.confident = self.last
        if mask.any() and (given or confidence > 0.5):
            self.appearance.learn(frame.lab, mask)

    def add_points(self, frame: CutFrame, points: ObjectPoints) -> None:
        """Remember new points, in the frame whose mask was accepted last."""
        self.confident = self.last = replace(self.last, points=self._plausible(frame, points))

    def _refuse(self, mask: BoolArray, points: ObjectPoints) -> None:
        """Ignore points that a prompt's mask shows to be off the object, from now on."""
        x, y = pixels_at(points.xy, mask.shape).T
        near = _dilated(mask)[y, x] > 0
        self._refused |= set(points.number[points.visible & ~near].tolist())

    def _plausible(self, frame: CutFrame, points: ObjectPoints) -> ObjectPoints:
        """The points without those that have drifted: neither of their first colour nor of the object's colours."""
        number, colours = points.number.tolist(), colours_at(frame.lab, points.xy)
        if self._colours.keys() != set(number):  # first colours of new points are kept, those of ended points dropped
            self._colours = {i: self._colours.get(i, colour) for i, colour in zip(number, colours, strict=True)}
        first = np.array([self._colours[i] for i in number]).reshape(-1, 3)
        likely = self.appearance.likely(colours, first)
        if self._refused:
            likely &= ~np.isin(points.number, list(self._refused))
        return replace(points, visibility=np.where(likely, points.visibility, 0))

    def _propagated(self, frame: CutFrame, points: ObjectPoints) -> tuple[FloatArray | None, float]:
        """Evidence [h, w] of the propagated masks in nats, at most `shape`, and its uncertainty in pixels."""
        votes: list[tuple[float, float, FloatArray]] = []  # weight, sigma, signed distance
        if frame.flow is not None and self.config.flow and (self.last.distance > 0).any():
            sigma = float(np.clip(2.0 + frame.flow.error, *_SIGMA))
            votes.append((1.0 + self.confidence, sigma, frame.flow.apply(self.last.distance, -FAR)))
        references = {r.t: (r, weight) for weight, r in ((1.0, self.first), (0.7, self.confident), (0.5, self.last))}
        for reference, weight in references.values():
            vote = _warp_mask(reference, frame, points)
            if vote is not None:
                votes.append((weight * vote[0], *vote[1:]))
        if not votes or not any((distance > 0).any() for _, _, distance in votes):
            return None, 0.0
        weights = np.array([w / s for w, s, _ in votes])
        weights /= weights.sum()
        mean = sum(w * np.clip(d / s, -3, 3) for w, (_, s, d) in zip(weights, votes, strict=True))
        sigma = float(sum(w * s for w, (_, s, _) in zip(weights, votes, strict=True)))
        most = max(self.config.shape, 1e-6)  # at 0 the sign still marks where to look
        return np.asarray(np.clip(mean * most / 2, -most, most)), sigma

    def _judge(
        self, mask: BoolArray, propagated: BoolArray, ratio: FloatArray, points: ObjectPoints
    ) -> tuple[float, float]:
        """A mask's confidence by colours, overlap with propagated masks and support by points; and that support."""
        if not mask.any():
            return 0.0, self._support(0, 0, points)
        likely = float((1 / (1 + np.exp(-ratio[mask]))).mean())
        looks = likely * self.appearance.separability + 0.7 * (1 - self.appearance.separability)
        overlap = float((mask & propagated).sum() / max(1, (mask | propagated).sum()))
        visible = points.xy[points.visible]
        held = float(ids_at(_dilated(mask), visible).sum())
        support = self._support(held, int(inside(visible, mask.shape).sum()), points)
        return float(np.clip(support * (looks * np.sqrt(overlap)) ** _MILD, 0, 1)), support

    def _support(self, held: float, seen: int, points: ObjectPoints) -> float:
        """Share of points found in a mask: the last one, moved by `held` of `seen` and by points that are gone.

        Few points move it, many replace it; points that went out of sight count a little against it.
        """
        known = self.confident.points
        gone = int((np.isin(points.number, known.number[known.visible]) & ~points.visible).sum())
        return (held + 2 * 0.98 * self.support) / (seen + 2 + _GONE * gone)


def _warp_mask(
    reference: _ReferenceMask, frame: CutFrame, points: ObjectPoints
) -> tuple[float, float, FloatArray] | None:
    """A reference's mask by the points visible in both frames: weight, uncertainty and signed distance [h, w]."""
    if not (reference.distance > 0).any():
        return None
    _, i, j = np.intersect1d(points.number, reference.points.number, assume_unique=True, return_indices=True)
    both = np.minimum(points.visibility[i], reference.points.visibility[j])
    use = both > 0.5
    if not use.any():
        return None
    warp = warp_by_points(points.xy[i[use]], reference.points.xy[j[use]], both[use], frame.grey.shape)
    # Few points leave the shape between them uncertain.
    sigma = float(np.clip(2.0 + 1.5 * warp.error + 6 / use.sum(), *_SIGMA))
    weight = min(1.0, use.sum() / max(1, 0.3 * len(use)))
    return weight, sigma, warp.apply(reference.distance, -FAR)


def _dilated(mask: BoolArray) -> UInt8:
    """1 within two pixels of a mask [h, w]."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)), np.uint8)
