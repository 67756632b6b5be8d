"""The segmenter without weights: a region tree interprets a click, a minimum cut refines the mask.

A prompt becomes an initial mask: the prior, the ellipse in a box, the neighbourhood of several clicks, or the most
salient region of the partition tree under a click. Gaussian mixtures are fitted to the colours inside and around it,
and a minimum cut in a band about its border combines colours, distance, clicks and contrast (Boykov, Jolly, ICCV 2001;
Rother et al., SIGGRAPH 2004). It uses colours and edges and has no notion of objects: a click on a shirt may yield the
shirt. It prefers masks that are too small to ones that are too large.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from trackime.arrays import BoolArray, Float32, Float64, FloatArray, Int64, pixels_at
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
from trackime.segmenters.base import PointSegmenter, check_prompts

_SURE = 30.0
"""Evidence in nats of clicked pixels, and against pixels outside a box."""

_SEVERAL = 3
"""From this many points on their spread gives the extent of the object better than the region under any of them."""

_REACH = 0.7
"""Extent of an object beyond its points, as a share of the distance between neighbouring points."""

_SOFT = 2.0
"""Pixels, at the resolution of the cut, over which the probability falls from 0.73 to 0.27 across a border."""


class EncodedFrame:
    """What all prompts of a frame share.

    Attributes:
        size: (H, W) of the frame.
        lab: [h, w, 3] CIE Lab, the frame at the resolution of the cut.
        edges: [4, h, w] pairwise terms, from `contrast_edges`.
        guide: [H, W] lightness of the frame in [0, 1], or None where the cut has the frame's own resolution.
    """

    def __init__(self, size: tuple[int, int], lab: Float32, guide: Float32 | None, strength: float) -> None:
        self.size, self.lab, self.guide = size, lab, guide
        self.edges = contrast_edges(lab, strength)

    @cached_property
    def tree(self) -> RegionTree:
        """Regions of the frame; computed when the first prompt needs them."""
        return build_tree(self.lab)


@dataclass(frozen=True)
class _InitialMask:
    """A mask [h, w], the evidence [h, w] in nats that comes with it, and the pixels [h, w] that the cut may change."""

    mask: BoolArray
    evidence: FloatArray
    free: BoolArray


@dataclass(eq=False)
class GraphCut(PointSegmenter):
    """Colour mixtures, a region tree and a minimum cut; computed by numpy and scipy on the CPU.

    Raises:
        InputError: an option outside its range.
    """

    device: Any = "cpu"
    """Device of the results."""
    side: int = 320
    """Longer side in pixels to which the frame is reduced for the cut; smaller is faster and coarser."""
    strength: float = 6.0
    """Pairwise term in nats between equal neighbouring pixels; larger is smoother."""
    colour: float = 4.0
    """Limit in nats of the evidence from a pixel's colour."""
    smallest: float = 0.005
    """Least share of the frame that the region of a click covers."""
    largest: float = 0.25
    """Largest share of the frame that the region of a click covers."""
    rounds: int = 1
    """Times that the colour mixtures are fitted and the cut is made."""
    seed: int = 0
    """Seed of the samples that the mixtures are fitted to."""

    name = "graphcut"
    shares_masks = True

    def __post_init__(self) -> None:
        if self.side < 16:
            raise InputError(f"side: expected 16 pixels or more, got {self.side}")
        if not 0 < self.smallest < self.largest <= 1:
            got = f"{self.smallest:g}, {self.largest:g}"
            raise InputError(f"smallest, largest: expected 0 < smallest < largest <= 1, got {got}")
        if self.rounds < 1:
            raise InputError(f"rounds: expected 1 or more, got {self.rounds}")
        self.device = resolve_device(self.device)

    def encode(self, frame: Tensor) -> EncodedFrame:
        """Reduce to `side`, convert to Lab, compute pairwise terms. See `PointSegmenter.encode`."""
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
        return EncodedFrame((height, width), lab, guide, self.strength)

    def decode(
        self,
        embedding: EncodedFrame,
        points: Tensor,
        labels: Tensor,
        boxes: Tensor | None = None,
        prior: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One cut per prompt. See `PointSegmenter.decode`.

        Pixels where the prior has 4 nats or more keep its label.
        """
        count = len(points)
        check_prompts(embedding.size, points, labels, boxes, prior)
        logits = torch.zeros((count, *embedding.size))
        score = torch.zeros(count)
        for p in range(count):
            mask, score[p] = self._one(
                embedding,
                points[p, labels[p] == 1].detach().cpu().numpy(),
                points[p, labels[p] == 0].detach().cpu().numpy(),
                None if boxes is None else boxes[p].detach().cpu().numpy().astype(np.float64),
                None if prior is None else prior[p].detach().cpu().numpy().astype(np.float32),
            )
            logits[p] = torch.from_numpy(_soften(mask, embedding))
        return logits.to(self.device), score.to(self.device)

    def _one(
        self,
        e: EncodedFrame,
        positive: FloatArray,  # [K, 2]
        negative: FloatArray,  # [K, 2]
        box: Float64 | None,  # [4]
        prior: Float32 | None,  # [H, W]
    ) -> tuple[BoolArray, float]:
        """The mask [h, w] of one prompt and its score."""
        h, w = e.lab.shape[:2]
        ratio = np.array([w / e.size[1], h / e.size[0]])
        on, off = (pixels_at(points * ratio, (h, w))[:, ::-1] for points in (positive, negative))
        if prior is not None and (prior > 0).any():
            initial = _from_prior(np.asarray(cv2.resize(prior, (w, h), interpolation=cv2.INTER_AREA), prior.dtype))
        elif box is not None:
            initial = _from_box(box * np.tile(ratio, 2), (h, w))
        elif len(np.unique(on, axis=0)) >= _SEVERAL:
            initial = _from_clicks(on, (h, w))
        elif len(on):
            initial = _from_mask(self._region(e.tree, on, off))
        else:
            return np.zeros((h, w), bool), 0.0
        return self._cut(e, initial, on, off)

    def _cut(self, e: EncodedFrame, initial: _InitialMask, on: Int64, off: Int64) -> tuple[BoolArray, float]:
        """Fit the colour mixtures and cut, `rounds` times."""
        evidence = initial.evidence + _clicks(e.lab.shape[:2], on, off)
        free = initial.free | (np.abs(evidence - initial.evidence) > 0)
        mask = initial.mask
        ratio = np.zeros(mask.shape, np.float32)
        for _ in range(self.rounds):
            ratio = _appearance(e.lab, mask, self.seed)
            colour = np.clip(ratio, -self.colour, self.colour)
            mask = min_cut(colour + evidence, e.edges, free, initial.mask)
            if not mask.any():
                break
        mask = _connected(mask, on)
        return mask, _score(mask, initial.mask, ratio)

    def _region(self, tree: RegionTree, on: Int64, off: Int64) -> BoolArray:
        """The union of the regions under the positive points, without negative points in them."""
        mask = np.zeros(tree.leaves.shape, bool)
        barred = {a for y, x in off for a in tree.ancestors(int(tree.leaves[y, x]))}
        for y, x in on:
            if not mask[y, x]:
                mask |= tree.mask(self._choose(tree, int(tree.leaves[y, x]), barred))
        return mask

    def _choose(self, tree: RegionTree, leaf: int, barred: set[int]) -> int:
        """The most salient ancestor of a leaf, `barred` nodes excepted.

        Saliency is the mean gradient along the border times the root of the persistence, which is the cost of the
        merge that ends a region over the largest of those that formed it.
        """
        chain = np.array([n for n in tree.ancestors(leaf) if n not in barred] or [leaf])
        total = tree.area[-1]
        share = tree.area[chain] / total
        rim = tree.frame_side[chain] / np.maximum(tree.frame_side[chain] + tree.perimeter[chain], 1)
        allowed = (share >= self.smallest) & (share <= self.largest) & (rim < 0.35)
        if not allowed.any():
            # No region of an allowed size: the largest below the limit, or the leaf.
            below = np.flatnonzero(share <= self.largest)
            return int(chain[below[-1] if len(below) else 0])
        parent = tree.parent[chain]
        ends = np.where(parent >= 0, tree.cost[parent], 0.0)
        persistence = ends / np.maximum(np.maximum.accumulate(tree.cost[chain]), 1)
        return int(chain[np.argmax(np.where(allowed, tree.contrast[chain] * np.sqrt(persistence), -1))])


def _from_mask(mask: BoolArray) -> _InitialMask:
    """From a region, whose border is free within a band."""
    distance = signed_distance(mask)
    band = float(np.clip(0.3 * np.sqrt(mask.sum()), 5, 40))
    return _InitialMask(mask, np.clip(2 * distance / band, -2, 2), (distance > -band) & (distance < band))


def _from_prior(prior: FloatArray) -> _InitialMask:
    """From logits [h, w], which are the evidence; pixels above 4 nats are fixed."""
    mask = prior > 0
    return _InitialMask(mask, np.clip(prior, -6, 6), np.abs(prior) < 4)


def _from_clicks(on: Int64, size: tuple[int, int]) -> _InitialMask:
    """From points (row, column) [K, 2] spread over the object: pixels near any of them.

    Near is `_REACH` of the mean edge of the minimum spanning tree of the points; further evidence falls linearly.
    """
    points = np.unique(on, axis=0)
    apart = np.sqrt(((points[:, None] - points) ** 2).sum(-1).astype(np.float64))
    spacing = float(minimum_spanning_tree(apart).data.mean())
    away = np.ones(size, np.uint8)
    away[points[:, 0], points[:, 1]] = 0
    distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_5)
    return _from_prior(np.clip(4 * (_REACH - distance / spacing), -4, 1).astype(np.float32))


def _from_box(box: FloatArray, size: tuple[int, int]) -> _InitialMask:
    """From a box (x0, y0, x1, y1): its inscribed ellipse, nothing outside."""
    h, w = size
    x0, y0 = np.clip(np.floor(box[:2]), 0, [w - 1, h - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(box[2:]), [x0 + 1, y0 + 1], [w, h]).astype(int)
    free = np.zeros(size, bool)
    free[y0:y1, x0:x1] = True
    y, x = np.mgrid[0:h, 0:w] + 0.5
    radius = ((x - (x0 + x1) / 2) / (0.5 * (x1 - x0))) ** 2 + ((y - (y0 + y1) / 2) / (0.5 * (y1 - y0))) ** 2
    mask = (radius < 1) & free
    mask[(y0 + y1) // 2, (x0 + x1) // 2] = True
    return _InitialMask(mask, np.where(free, np.clip(1 - radius, -1, 1), -_SURE), free)


def _appearance(lab: FloatArray, mask: BoolArray, seed: int = 0) -> Float32:
    """Log likelihood ratio [h, w] of the mask's colours to those of its surroundings.

    Near surroundings matter most: a pixel at distance d of the mask weighs exp(-d / root of the mask's area) + 0.05.
    """
    if mask.all() or not mask.any():
        return np.zeros(mask.shape, np.float32)
    distance = signed_distance(mask)
    inside = fit_mixture(lab[mask], weights=np.minimum(distance[mask], 3), seed=seed)
    outside = -distance[~mask]
    reach = max(4.0, float(np.sqrt(mask.sum())))
    background = fit_mixture(lab[~mask], 8, np.where(outside < 1, 0.2, 1) * (np.exp(-outside / reach) + 0.05), seed)
    return log_ratio(lab, inside, background)


def _soften(mask: BoolArray, e: EncodedFrame) -> Float32:
    """Logits [H, W] of the frame from a mask [h, w]: signed distance over `_SOFT`, aligned with the frame's edges."""
    distance = np.clip(signed_distance(mask), -6 * _SOFT, 6 * _SOFT)
    if e.guide is None:
        return np.asarray(distance / _SOFT, np.float32)
    height, width = e.size
    fine = np.asarray(cv2.resize(distance, (width, height), interpolation=cv2.INTER_LINEAR), distance.dtype)
    if mask.any() and not mask.all():
        fine = guided_filter(fine, e.guide, max(2, round(1.5 * width / mask.shape[1])))
    return np.asarray(fine / _SOFT, np.float32)


def _clicks(size: tuple[int, int], on: Int64, off: Int64, radius: int = 1) -> FloatArray:
    """Evidence [h, w] of the clicked pixels and their neighbours."""
    evidence = np.zeros(size, np.float32)
    for points, value in ((off, -_SURE), (on, _SURE)):
        for y, x in points:
            evidence[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = value
    return evidence


def _connected(mask: BoolArray, on: Int64) -> BoolArray:
    """The components that hold a positive point; without any, those of a tenth of the largest one's size or more.

    OpenCV counts sizes in passing; scipy's and scikit-image's labels take the same 2 to 3 ms for 854 x 480 without.
    """
    count, label, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    keep = np.zeros(count, bool)
    keep[label[on[:, 0], on[:, 1]]] = True
    keep[0] = False
    if not keep.any():
        keep[1:] = stats[1:, cv2.CC_STAT_AREA] >= 0.1 * stats[1:, cv2.CC_STAT_AREA].max()
    return np.asarray(keep[label])


def _score(mask: BoolArray, initial: BoolArray, ratio: FloatArray) -> float:
    """Score in [0, 1]: overlap with the initial mask, and how well colour separates the mask from its surroundings."""
    if not mask.any():
        return 0.0
    distance = signed_distance(mask)
    near = np.abs(distance) < max(4.0, 0.3 * float(np.sqrt(mask.sum())))
    sides = ((near & mask, 1), (near & ~mask, -1))
    agree = [float((ratio[side] * sign > 0).mean()) for side, sign in sides if side.any()]
    overlap = float((mask & initial).sum() / (mask | initial).sum())
    return float(np.clip(2 * np.mean(agree) - 1, 0, 1)) ** 0.5 * overlap**0.5
