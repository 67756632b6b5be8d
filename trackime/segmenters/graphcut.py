"""The embedded segmenter: no weights, no downloads. A region tree proposes what a click means, a minimum cut draws it.

A prompt becomes a first guess of the mask (the prior, the box, what lies between and around several clicks, or the
region of the tree under a click that stands out most), the guess becomes colour models of the object and of its
surroundings, and a minimum cut in the band around the guess weighs colours, distance to the guess, clicks and contrast
(Boykov, Jolly, ICCV 2001; Rother et al., SIGGRAPH 2004). It knows colours and borders, not objects: a click on a shirt
may well yield the shirt. It is made to err on that side, towards masks that stay on what was clicked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from trackime.arrays import BoolArray, Float32, FloatArray
from trackime.devices import resolve_device
from trackime.errors import InputError, ShapeError
from trackime.geometry import resize_frames
from trackime.imaging import (
    RegionTree,
    build_tree,
    contrast_edges,
    fit_mixture,
    guided_filter,
    log_ratio,
    min_cut,
    signed_distance,
    to_lab,
)
from trackime.segmenters.base import PointSegmenter

_SURE = 30.0
"""Evidence in nats of what a prompt states outright."""

_SEVERAL = 3
"""From this many points on they show how far the object reaches, better than the region under any of them."""

_REACH = 0.7
"""How far an object reaches beyond its points, as a share of the distance between neighbouring ones."""

_SOFT = 2.0
"""Pixels of the cut frame in which the confidence falls from 0.73 to 0.27 across a border."""


class Embedded:
    """One encoded frame.

    Attributes:
        size: (H, W) of the frame.
        lab: float32 [h, w, 3], the frame at the resolution of the cut.
        edges: [4, h, w] prices of borders.
        guide: float32 [H, W] lightness of the frame, or None where the cut has the frame's own resolution.
    """

    def __init__(self, size: tuple[int, int], lab: FloatArray, guide: FloatArray | None, strength: float) -> None:
        self.size, self.lab, self.guide = size, lab, guide
        self.edges = contrast_edges(lab, strength)

    @cached_property
    def tree(self) -> RegionTree:
        """Regions of the frame; made when the first prompt without box and prior asks for them."""
        return build_tree(self.lab)


@dataclass(frozen=True)
class _Guess:
    """A first idea of the mask: evidence [h, w] in nats for the object, and what may still change."""

    mask: BoolArray
    evidence: FloatArray
    free: BoolArray


class GraphCut(PointSegmenter):
    """Colour models, a region tree and a minimum cut.

    Args:
        device: where results are put; the computation is numpy's and scipy's, on the CPU.
        side: longer side in pixels the frame is shrunk to for the cut; smaller is faster and coarser.
        strength: price in nats of a pixel of border in a flat area; larger is smoother.
        colour: most nats that a pixel's colour alone can say.
        smallest: least share of the frame that a click is taken to mean.
        largest: largest share of the frame that a click is taken to mean.
        rounds: times the colour models are fitted again to the cut.
        seed: of the colour models' samples.

    Raises:
        InputError: an option outside its range.
    """

    name = "graphcut"
    shares_masks = True

    def __init__(
        self,
        device: str | torch.device = "cpu",
        side: int = 320,
        strength: float = 6.0,
        colour: float = 4.0,
        smallest: float = 0.005,
        largest: float = 0.25,
        rounds: int = 1,
        seed: int = 0,
    ) -> None:
        if side < 16:
            raise InputError(f"side: expected 16 pixels or more, got {side}")
        if not 0 < smallest < largest <= 1:
            raise InputError(f"smallest, largest: expected 0 < smallest < largest <= 1, got {smallest:g}, {largest:g}")
        if rounds < 1:
            raise InputError(f"rounds: expected 1 or more, got {rounds}")
        self.device = resolve_device(device)
        self.side, self.strength, self.colour = side, strength, colour
        self.smallest, self.largest, self.rounds, self.seed = smallest, largest, rounds, seed

    def encode(self, frame: Tensor) -> Embedded:
        """Shrink, convert to Lab, price borders. See `PointSegmenter.encode`."""
        if frame.ndim != 3 or frame.shape[0] != 3:
            raise ShapeError("frame", "[3, H, W]", frame.shape)
        height, width = frame.shape[1:]
        scale = min(1.0, self.side / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        frame = frame.detach().to("cpu", torch.float32)
        lab = to_lab(resize_frames(frame, size).permute(1, 2, 0).numpy())
        guide = None
        if size != (height, width):
            guide = np.asarray(to_lab(frame.permute(1, 2, 0).numpy())[..., 0] / 100, np.float32)
        return Embedded((height, width), lab, guide, self.strength)

    def decode(
        self,
        embedding: Embedded,
        points: Tensor,
        labels: Tensor,
        boxes: Tensor | None = None,
        prior: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One cut a prompt. See `PointSegmenter.decode`.

        A prior decides where to look: pixels with evidence of more than about 4 nats, and those far from its border,
        keep the prior's label. A prompt without a single positive point, box or prior yields an empty mask, score 0.
        """
        count = len(points)
        if points.ndim != 3 or points.shape[2] != 2:
            raise ShapeError("points", "[P, K, 2]", points.shape)
        if labels.shape != points.shape[:2]:
            raise ShapeError("labels", f"[{count}, {points.shape[1]}]", labels.shape)
        if boxes is not None and boxes.shape != (count, 4):
            raise ShapeError("boxes", f"[{count}, 4]", boxes.shape)
        if prior is not None and prior.shape != (count, *embedding.size):
            raise ShapeError("prior", f"[{count}, {embedding.size[0]}, {embedding.size[1]}]", prior.shape)
        logits = torch.zeros((count, *embedding.size))
        score = torch.zeros(count)
        for p in range(count):
            mask, sure = self._one(
                embedding,
                points[p].detach().cpu().numpy().astype(np.float64),
                labels[p].detach().cpu().numpy(),
                None if boxes is None else boxes[p].detach().cpu().numpy().astype(np.float64),
                None if prior is None else prior[p].detach().cpu().numpy().astype(np.float32),
            )
            logits[p] = torch.from_numpy(_soften(mask, embedding))
            score[p] = sure
        return logits.to(self.device), score.to(self.device)

    def _one(
        self, e: Embedded, points: FloatArray, labels: npt.NDArray, box: FloatArray | None, prior: FloatArray | None
    ) -> tuple[BoolArray, float]:
        """The mask [h, w] of one prompt and its score."""
        h, w = e.lab.shape[:2]
        ratio = np.array([w / e.size[1], h / e.size[0]])
        yx = np.clip(np.floor(points * ratio), 0, [w - 1, h - 1]).astype(int)[:, ::-1]
        on, off = yx[labels == 1], yx[labels == 0]
        if prior is not None and (prior > 0).any():
            guess = _from_prior(np.asarray(cv2.resize(prior, (w, h), interpolation=cv2.INTER_AREA), prior.dtype))
        elif box is not None:
            guess = _from_box(box * np.tile(ratio, 2), (h, w))
        elif len(np.unique(on, axis=0)) >= _SEVERAL:
            guess = _from_clicks(on, (h, w))
        elif len(on):
            guess = _from_mask(self._region(e.tree, on, off))
        else:
            return np.zeros((h, w), bool), 0.0
        return self._cut(e, guess, on, off)

    def _cut(self, e: Embedded, guess: _Guess, on: npt.NDArray, off: npt.NDArray) -> tuple[BoolArray, float]:
        """Fit colours to the guess, cut, and again."""
        evidence = guess.evidence + _clicks(e.lab.shape[:2], on, off)
        free = guess.free | (np.abs(evidence - guess.evidence) > 0)
        mask = guess.mask
        ratio = np.zeros(mask.shape, np.float32)
        for _ in range(self.rounds):
            ratio = _appearance(e.lab, mask, self.seed)
            colour = np.clip(ratio, -self.colour, self.colour)
            mask = min_cut(colour + evidence, e.edges, free, guess.mask)
            if not mask.any():
                break
        mask = _connected(mask, on)
        return mask, _score(mask, guess.mask, ratio)

    def _region(self, tree: RegionTree, on: npt.NDArray, off: npt.NDArray) -> BoolArray:
        """The union of the regions that the positive points mean, none of which holds a negative point."""
        mask = np.zeros(tree.leaves.shape, bool)
        barred = {a for y, x in off for a in tree.ancestors(int(tree.leaves[y, x]))}
        for y, x in on:
            if not mask[y, x]:
                mask |= tree.mask(self._choose(tree, int(tree.leaves[y, x]), barred))
        return mask

    def _choose(self, tree: RegionTree, leaf: int, barred: set[int]) -> int:
        """The ancestor of a leaf that stands out most.

        Standing out is the mean gradient along its border times the root of its persistence: how much costlier the
        merge that ends it is than any that made it.
        """
        chain = np.array([n for n in tree.ancestors(leaf) if n not in barred] or [leaf])
        total = tree.area[-1]
        share = tree.area[chain] / total
        rim = tree.frame_side[chain] / np.maximum(tree.frame_side[chain] + tree.perimeter[chain], 1)
        allowed = (share >= self.smallest) & (share <= self.largest) & (rim < 0.35)
        if not allowed.any():
            # Nothing of the right size: the largest that is not too large, which is the leaf at worst.
            below = np.flatnonzero(share <= self.largest)
            return int(chain[below[-1] if len(below) else 0])
        parent = tree.parent[chain]
        ends = np.where(parent >= 0, tree.cost[parent], 0.0)
        persistence = ends / np.maximum(np.maximum.accumulate(tree.cost[chain]), 1)
        return int(chain[np.argmax(np.where(allowed, tree.contrast[chain] * np.sqrt(persistence), -1))])


def _from_mask(mask: BoolArray) -> _Guess:
    """A guess that is right in its core and roughly right at its border."""
    distance = signed_distance(mask)
    band = float(np.clip(0.3 * np.sqrt(mask.sum()), 5, 40))
    return _Guess(mask, np.clip(2 * distance / band, -2, 2), (distance > -band) & (distance < band))


def _from_prior(prior: FloatArray) -> _Guess:
    """A guess from logits [h, w]: they are the evidence, and where they are sure the guess stands."""
    mask = prior > 0
    return _Guess(mask, np.clip(prior, -6, 6), np.abs(prior) < 4)


def _from_clicks(on: npt.NDArray, size: tuple[int, int]) -> _Guess:
    """A guess from points (y, x) [K, 2] spread over the object: what is near to any of them, perhaps.

    Near is `_REACH` of the mean edge of the shortest tree that connects the points; twice as far is surely background.
    """
    points = np.unique(on, axis=0)
    apart = np.sqrt(((points[:, None] - points) ** 2).sum(-1).astype(np.float64))
    spacing = float(minimum_spanning_tree(apart).data.mean())
    away = np.ones(size, np.uint8)
    away[points[:, 0], points[:, 1]] = 0
    distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_5)
    return _from_prior(np.clip(4 * (_REACH - distance / spacing), -4, 1).astype(np.float32))


def _from_box(box: FloatArray, size: tuple[int, int]) -> _Guess:
    """A guess from a box (x0, y0, x1, y1): nothing outside, its inscribed ellipse perhaps."""
    h, w = size
    x0, y0 = np.clip(np.floor(box[:2]), 0, [w - 1, h - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(box[2:]), [x0 + 1, y0 + 1], [w, h]).astype(int)
    free = np.zeros(size, bool)
    free[y0:y1, x0:x1] = True
    y, x = np.mgrid[0:h, 0:w] + 0.5
    radius = ((x - (x0 + x1) / 2) / (0.5 * (x1 - x0))) ** 2 + ((y - (y0 + y1) / 2) / (0.5 * (y1 - y0))) ** 2
    mask = (radius < 1) & free
    mask[(y0 + y1) // 2, (x0 + x1) // 2] = True
    return _Guess(mask, np.where(free, np.clip(1 - radius, -1, 1), -_SURE), free)


def _appearance(lab: FloatArray, mask: BoolArray, seed: int = 0) -> Float32:
    """Log ratio [h, w] of the mask's colours to those of its surroundings.

    Near surroundings are what the mask must be told from, so a pixel counts by its distance d to the mask:
    exp(-d / side of a square of the mask's area), and a little wherever it is.
    """
    if mask.all() or not mask.any():
        return np.zeros(mask.shape, np.float32)
    distance = signed_distance(mask)
    inside = fit_mixture(lab[mask], weights=np.minimum(distance[mask], 3), seed=seed)
    outside = -distance[~mask]
    reach = max(4.0, float(np.sqrt(mask.sum())))
    background = fit_mixture(lab[~mask], 8, np.where(outside < 1, 0.2, 1) * (np.exp(-outside / reach) + 0.05), seed)
    return log_ratio(lab, inside, background)


def _soften(mask: BoolArray, e: Embedded) -> Float32:
    """Logits [H, W] of the frame from a mask [h, w]: signed distance over `_SOFT`, its border drawn to the frame's."""
    distance = np.clip(signed_distance(mask), -6 * _SOFT, 6 * _SOFT)
    if e.guide is None:
        return np.asarray(distance / _SOFT, np.float32)
    height, width = e.size
    fine = np.asarray(cv2.resize(distance, (width, height), interpolation=cv2.INTER_LINEAR), distance.dtype)
    if mask.any() and not mask.all():
        fine = guided_filter(fine, e.guide, max(2, round(1.5 * width / mask.shape[1])))
    return np.asarray(fine / _SOFT, np.float32)


def _clicks(size: tuple[int, int], on: npt.NDArray, off: npt.NDArray, radius: int = 1) -> FloatArray:
    """Evidence [h, w] of the clicked pixels and their neighbours."""
    evidence = np.zeros(size, np.float32)
    for points, value in ((off, -_SURE), (on, _SURE)):
        for y, x in points:
            evidence[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = value
    return evidence


def _connected(mask: BoolArray, on: npt.NDArray) -> BoolArray:
    """The components that hold a positive point; without any, those of a tenth of the largest one's size or more."""
    count, label, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    keep = np.zeros(count, bool)
    keep[label[on[:, 0], on[:, 1]]] = True
    keep[0] = False
    if not keep.any():
        keep[1:] = stats[1:, cv2.CC_STAT_AREA] >= 0.1 * stats[1:, cv2.CC_STAT_AREA].max()
    return np.asarray(keep[label])


def _score(mask: BoolArray, guess: BoolArray, ratio: FloatArray) -> float:
    """How sure a mask is: its overlap with the guess, and how well colour alone tells it from its surroundings."""
    if not mask.any():
        return 0.0
    distance = signed_distance(mask)
    near = np.abs(distance) < max(4.0, 0.3 * float(np.sqrt(mask.sum())))
    sides = ((near & mask, 1), (near & ~mask, -1))
    agree = [float((ratio[side] * sign > 0).mean()) for side, sign in sides if side.any()]
    overlap = float((mask & guess).sum() / (mask | guess).sum())
    return float(np.clip(2 * np.mean(agree) - 1, 0, 1)) ** 0.5 * overlap**0.5
