"""One object's mask, frame after frame: carried, voted, and cut along colours and borders.

In each frame the object's earlier masks are carried to it (from the frame before, from the last frame that was sure,
and from the first, by the tracks; from the frame before by flow as well) and voted into one prior: the mean of their
signed distances, each over its own uncertainty. A minimum cut then weighs prior, colours, tracked points and
contrast, where the prior leaves a doubt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from trackime.arrays import BoolArray, Float32, FloatArray, Int64, UInt8
from trackime.imaging import contrast_edges, min_cut, signed_distance, to_lab

from ._appearance import Appearance, colours_at
from ._carry import FlowCarrier, Warp, warp_by_points
from ._motion_cue import motion_ratio
from ._prompted import TRUST, Answer, small
from .config import VosConfig

FAR = 60.0
"""Signed distances are cut off at this many pixels: beyond, no candidate is surer."""

GONE = 0.08
"""What a point that went out of sight counts against its object, in points that lie beside its mask."""

MILD = 0.25
"""Power of colours and overlap in the confidence: on tuning videos points alone rank masks better than both."""

SIGMA = (2.0, 15.0)
"""Least and largest uncertainty of a carried mask's border, pixels of the cut frame."""


class Scene:
    """One frame as the cut sees it.

    Attributes:
        t: its index.
        lab: float32 [h, w, 3].
        grey: uint8 [h, w].
        edges: [4, h, w] prices of borders.
        flow: warp to the frame before it in the order of travel; None in the first.
    """

    def __init__(self, t: int, frame: UInt8, size: tuple[int, int], smoothing: float) -> None:
        self.t = t
        small = frame
        if frame.shape[:2] != size:
            small = np.asarray(cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.uint8)
        self.lab = to_lab(small)
        self.grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(small), cv2.COLOR_RGB2GRAY), np.uint8)
        self.edges = contrast_edges(self.lab, smoothing)
        self.flow: Warp | None = None

    def follow(self, previous: Scene | None, carrier: FlowCarrier) -> None:
        """Find the flow to the frame before."""
        if previous is not None:
            self.flow = carrier.warp(self.grey, previous.grey)


@dataclass(frozen=True)
class Sight:
    """The tracked points of one object in one frame, pixels of the cut frame.

    Attributes:
        xy: [N, 2].
        visibility: [N].
        off: [M, 2] visible points known to be off the object.
        who: int [N], ascending: which point each is, the same in all frames.
    """

    xy: FloatArray
    visibility: FloatArray
    off: FloatArray
    who: Int64


@dataclass(frozen=True)
class Reference:
    """A frame whose mask is carried to others: its index, signed distance [h, w] and the object's points."""

    t: int
    distance: FloatArray
    sight: Sight


@dataclass(frozen=True)
class Expected:
    """Where an object should be: its plausible points, carried evidence [h, w] in nats (None: none), its error."""

    sight: Sight
    prior: FloatArray | None
    sigma: float


@dataclass(frozen=True)
class Belief:
    """What is thought of one object in one frame.

    Attributes:
        mask: bool [h, w].
        logits: [h, w], by which objects compete for pixels.
        confidence: in [0, 1]; 0 where the mask is empty.
        support: share of its points that are found in it, those of earlier frames counting a little.
        fine: [H, W] logits at the video's own size; None: the cut's are drawn to the frame's edges.
    """

    mask: BoolArray
    logits: FloatArray
    confidence: float
    support: float
    fine: FloatArray | None = None


class ObjectState:
    """One object on its way through the frames, from its first mask on.

    Args:
        config: the switches.
        scene: the first frame.
        mask: bool [h, w], the first mask.
        sight: the object's points there.
    """

    def __init__(self, config: VosConfig, scene: Scene, mask: BoolArray, sight: Sight) -> None:
        self.config = config
        self.confidence = self.support = 1.0
        self.appearance = Appearance(config, scene.lab, mask)
        self._colours: dict[int, FloatArray] = {}
        self._refused: set[int] = set()
        self._refuse(mask, sight)
        reference = Reference(scene.t, _distance(mask), self._plausible(scene, sight))
        self.first = self.sure = self.last = reference

    def expect(self, scene: Scene, sight: Sight) -> Expected:
        """The object's masks of other frames carried to the next frame. `cut` makes a mask of it."""
        sight = self._plausible(scene, sight)
        prior, sigma = self._prior(scene, sight)
        if prior is not None and not (prior > 0).any():
            prior = None
        return Expected(sight, prior, sigma)

    def cut(self, scene: Scene, expected: Expected, answer: Answer | None = None) -> Belief:
        """The object in the next frame. Call `accept` with what became of it before the next frame.

        Args:
            scene: the frame.
            expected: of it.
            answer: another segmenter's mask, or None.
        """
        sight, prior, sigma = expected.sight, expected.prior, expected.sigma
        vote = None if answer is None else small(answer.logits, scene.grey.shape)
        if vote is not None and answer is not None:
            if answer.agreement > TRUST:
                # A mask drawn by more than colours, which the tracks confirm: nothing here could better it.
                mask = vote > 0
                ratio = self.appearance.ratio(scene.lab, mask)
                carried = mask if prior is None else prior > 0
                confidence, support = self._confidence(mask, carried, ratio, sight)
                return Belief(mask, np.asarray(vote, np.float32), confidence, support, answer.logits)
            vote = np.clip(vote * answer.agreement, -self.config.shape, self.config.shape)
            prior, sigma = (vote, SIGMA[1]) if prior is None else (prior + vote, sigma)
        if prior is None or not (prior > 0).any():
            nothing = np.zeros(scene.grey.shape, bool)
            return Belief(nothing, np.full(nothing.shape, -12.0, np.float32), 0.0, self._support(0, 0, sight))
        # Deep inside the frame may still take pixels away (something passes before the object), so all of it is free.
        reach = min(self.config.band, max(6.0, 3 * sigma))
        free = _distance(prior > 0) > -reach
        ratio = self.appearance.ratio(scene.lab, free)
        colour = np.clip(ratio, -self.config.colour, self.config.colour) * self.appearance.telling
        evidence = prior + colour + self._seeds(prior, ratio, sight)
        if scene.flow is not None and self.config.motion:
            distance = _distance(prior > 0)
            evidence = evidence + self.config.motion * motion_ratio(scene.flow, distance, max(reach, 20.0))
        mask = min_cut(evidence, scene.edges, free, np.zeros_like(free))
        mask = _tidy(mask, sight, prior)
        logits = np.where(free, np.clip(_distance(mask), -6, 6) + 0.25 * evidence, -12.0)
        confidence, support = self._confidence(mask, prior > 0, ratio, sight)
        return Belief(mask, np.asarray(logits, np.float32), confidence, support)

    def accept(
        self, scene: Scene, mask: BoolArray, confidence: float, sight: Sight, support: float | None = None
    ) -> None:
        """Take the mask that the object was left with after competing as its own.

        Args:
            scene: the frame.
            mask: bool [h, w].
            confidence: how sure it is.
            sight: the object's points.
            support: as the belief has it; None: a prompt gave the mask.
        """
        given = support is None
        if given:
            self._refuse(mask, sight)
        self.confidence, self.support = confidence, 1.0 if support is None else support
        # Of an object that is lost nothing is carried on: it would be background soon. Its points bring it back.
        lost = not given and confidence < self.config.abstain
        distance = np.full(mask.shape, -FAR, np.float32) if lost else _distance(mask)
        self.last = Reference(scene.t, distance, self._plausible(scene, sight))
        if given or (confidence > 0.6 and abs(scene.t - self.sure.t) >= 4):
            self.sure = self.last
        if mask.any() and (given or confidence > 0.5):
            self.appearance.learn(scene.lab, mask)

    def meet(self, scene: Scene, sight: Sight) -> None:
        """Take new points on, in the frame whose mask was accepted last."""
        self.sure = self.last = replace(self.last, sight=self._plausible(scene, sight))

    def _refuse(self, mask: BoolArray, sight: Sight) -> None:
        """Points that a prompt's mask shows to be no part of the object take part no more."""
        near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        h, w = mask.shape
        x, y = np.clip(np.floor(sight.xy).astype(int), 0, [w - 1, h - 1]).T
        self._refused |= set(sight.who[(sight.visibility > 0.5) & ~near[y, x]].tolist())

    def _plausible(self, scene: Scene, sight: Sight) -> Sight:
        """The points without those that have drifted: neither of their first colour nor of the object's at all."""
        self._remember(scene, sight)
        first = np.array([self._colours[i] for i in sight.who.tolist()]).reshape(-1, 3)
        likely = self.appearance.likely(colours_at(scene.lab, sight.xy), first)
        if self._refused:
            likely &= ~np.isin(sight.who, list(self._refused))
        return replace(sight, visibility=np.where(likely, sight.visibility, 0))

    def _remember(self, scene: Scene, sight: Sight) -> None:
        """Remember the first colours of points, forget those of points that are gone."""
        who = sight.who.tolist()
        if self._colours.keys() != set(who):
            colours = colours_at(scene.lab, sight.xy)
            self._colours = {i: self._colours.get(i, colour) for i, colour in zip(who, colours, strict=True)}

    def _prior(self, scene: Scene, sight: Sight) -> tuple[FloatArray | None, float]:
        """Evidence [h, w] of the carried masks in nats, at most `shape`, and its uncertainty in pixels."""
        votes: list[tuple[float, float, FloatArray]] = []
        if scene.flow is not None and self.config.flow and (self.last.distance > 0).any():
            sigma = float(np.clip(2.0 + scene.flow.error, *SIGMA))
            votes.append((1.0 + self.confidence, sigma, scene.flow.apply(self.last.distance, -FAR)))
        references = {r.t: (r, weight) for weight, r in ((1.0, self.first), (0.7, self.sure), (0.5, self.last))}
        for reference, weight in references.values():
            if not (reference.distance > 0).any():
                continue
            _, i, j = np.intersect1d(sight.who, reference.sight.who, assume_unique=True, return_indices=True)
            both = np.minimum(sight.visibility[i], reference.sight.visibility[j])
            use = both > 0.5
            if not use.any():
                continue
            here, there = sight.xy[i[use]], reference.sight.xy[j[use]]
            warp = warp_by_points(here, there, both[use], scene.grey.shape)
            # Few points say little of the shape between them.
            sigma = float(np.clip(2.0 + 1.5 * warp.error + 6 / use.sum(), *SIGMA))
            share = min(1.0, use.sum() / max(1, 0.3 * len(use)))
            votes.append((weight * share, sigma, warp.apply(reference.distance, -FAR)))
        if not votes or not any((distance > 0).any() for _, _, distance in votes):
            return None, 0.0
        weights = np.array([w / s for w, s, _ in votes])
        weights /= weights.sum()
        mean = sum(w * np.clip(d / s, -3, 3) for w, (_, s, d) in zip(weights, votes, strict=True))
        sigma = float(sum(w * s for w, (_, s, _) in zip(weights, votes, strict=True)))
        most = max(self.config.shape, 1e-6)  # at 0 the sign still says where to look
        return np.asarray(np.clip(mean * most / 2, -most, most)), sigma

    def _seeds(self, prior: FloatArray, ratio: FloatArray, sight: Sight) -> FloatArray:
        """Evidence of the tracked points: visible ones that neither the carried masks nor colours speak against."""
        evidence = np.zeros(prior.shape, np.float32)
        h, w = prior.shape
        on = sight.xy[sight.visibility > 0.5]
        for points, sign in ((sight.off, -1.0), (on, 1.0)):
            for x, y in np.floor(points).astype(int).tolist():
                if 0 <= x < w and 0 <= y < h and sign * (prior[y, x] + ratio[y, x]) > -2:
                    cv2.circle(evidence, (x, y), 2, sign * self.config.seeds, -1)
        return evidence

    def _confidence(self, mask: BoolArray, carried: BoolArray, ratio: FloatArray, sight: Sight) -> tuple[float, float]:
        """How far colours, carried masks and visible points agree with a mask, and the points alone."""
        if not mask.any():
            return 0.0, self._support(0, 0, sight)
        h, w = mask.shape
        likely = float((1 / (1 + np.exp(-ratio[mask]))).mean())
        looks = likely * self.appearance.telling + 0.7 * (1 - self.appearance.telling)
        overlap = float((mask & carried).sum() / max(1, (mask | carried).sum()))
        where = np.floor(sight.xy[sight.visibility > 0.5]).astype(int)
        where = where[(where >= 0).all(1) & (where[:, 0] < w) & (where[:, 1] < h)]
        near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
        support = self._support(float(near[where[:, 1], where[:, 0]].sum()), len(where), sight)
        return float(np.clip(support * (looks * np.sqrt(overlap)) ** MILD, 0, 1)), support

    def _support(self, held: float, seen: int, sight: Sight) -> float:
        """Share of points found in a mask: what was believed, moved by `held` of `seen` and by points that are gone.

        Few points move the belief, many replace it; points that went out of sight count a little against it.
        """
        known = self.sure.sight
        gone = int((np.isin(sight.who, known.who[known.visibility > 0.5]) & (sight.visibility <= 0.5)).sum())
        return (held + 2 * 0.98 * self.support) / (seen + 2 + GONE * gone)


def _distance(mask: BoolArray) -> Float32:
    return np.asarray(np.clip(signed_distance(mask), -FAR, FAR), np.float32)


def _tidy(mask: BoolArray, sight: Sight, prior: FloatArray) -> BoolArray:
    """Without specks: a part stays if a point lies in it, or it is no speck and most of it was expected."""
    count, label, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    area = stats[:, cv2.CC_STAT_AREA]
    expected = np.bincount(label.ravel(), (prior > 0).ravel(), count) / np.maximum(area, 1)
    keep = (area >= 0.02 * area[1:].max()) & (expected > 0.5)
    keep[1 + int(area[1:].argmax())] = True
    h, w = mask.shape
    points = np.floor(sight.xy[sight.visibility > 0.5]).astype(int)
    points = points[(points >= 0).all(1) & (points[:, 0] < w) & (points[:, 1] < h)]
    keep[label[points[:, 1], points[:, 0]]] = True
    keep[0] = False
    return np.asarray(keep[label])
