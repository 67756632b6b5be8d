"""The border of a mask: a minimum cut over prior, colours, tracked points, motion and contrast.

Y. Boykov, M.-P. Jolly: Interactive graph cuts for optimal boundary and region segmentation. ICCV 2001. The unary
terms are log odds in nats, summed as if independent; border prices fall with the colour contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from trackime.arrays import BoolArray, Float32, FloatArray, UInt8, ids_at, inside, pixels_at
from trackime.imaging import contrast_edges, min_cut, signed_distance, to_lab

from ._appearance import Appearance
from ._motion_cue import motion_ratio
from ._points import ObjectPoints
from ._warp import FlowWarper, Warp
from .config import VosConfig

FAR = 60.0
"""Signed distances are clipped to this many pixels: beyond, no propagated mask is more certain."""

LEAST = -12.0
"""Logits of pixels where an object cannot be."""


class CutFrame:
    """One frame at the resolution of the cut.

    Attributes:
        t: its index.
        lab: float32 [h, w, 3].
        grey: uint8 [h, w].
        edges: [4, h, w] prices of borders.
        flow: warp to the frame before it in the direction of propagation; None in the first.
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

    def find_flow(self, previous: CutFrame | None, warper: FlowWarper) -> None:
        """Find the flow to the frame before."""
        if previous is not None:
            self.flow = warper.warp(self.grey, previous.grey)


@dataclass(frozen=True)
class MaskPrior:
    """The expected place of an object in a frame, before its colours are used.

    Attributes:
        points: its plausible points.
        evidence: [h, w] nats of the propagated masks; None: there are none.
        sigma: uncertainty of their border, pixels.
    """

    points: ObjectPoints
    evidence: FloatArray | None
    sigma: float


@dataclass(frozen=True)
class CutMask:
    """An object's mask from the cut.

    Attributes:
        mask: bool [h, w].
        logits: [h, w], by which objects compete for pixels.
        ratio: [h, w] log ratio of the object's colours to its surroundings', 0 far from the prior.
    """

    mask: BoolArray
    logits: Float32
    ratio: FloatArray


def cut(
    frame: CutFrame,
    points: ObjectPoints,
    prior: FloatArray,  # [h, w] nats, above 0 somewhere
    sigma: float,
    appearance: Appearance,
    config: VosConfig,
) -> CutMask:
    """Cut an object out of a frame, within a band around its prior of uncertainty `sigma` pixels."""
    # The whole inside may change, as something may pass in front of the object.
    reach = min(config.band, max(6.0, 3 * sigma))
    distance = clipped_distance(prior > 0)
    free = distance > -reach
    ratio = appearance.ratio(frame.lab, free)
    colour = np.clip(ratio, -config.colour, config.colour) * appearance.separability
    evidence = prior + colour + _seeds(points, prior + ratio, config.seeds)
    if frame.flow is not None and config.motion:
        evidence = evidence + config.motion * motion_ratio(frame.flow, distance, max(reach, 20.0))
    mask = min_cut(evidence, frame.edges, free, np.zeros_like(free))
    mask = _without_specks(mask, points, prior)
    logits = np.where(free, np.clip(clipped_distance(mask), -6, 6) + 0.25 * evidence, LEAST)
    return CutMask(mask, np.asarray(logits, np.float32), ratio)


def clipped_distance(mask: BoolArray) -> Float32:
    """Signed distance [h, w] to a mask's border in pixels, above 0 inside, clipped to `FAR`."""
    return np.asarray(np.clip(signed_distance(mask), -FAR, FAR), np.float32)


def _seeds(points: ObjectPoints, likely: FloatArray, nats: float) -> Float32:
    """Evidence [h, w] of visible points, on and off the object, that nothing else (`likely` [h, w]) contradicts."""
    evidence = np.zeros(likely.shape, np.float32)
    for xy, sign in ((points.off, -1.0), (points.xy[points.visible], 1.0)):
        for x, y in pixels_at(xy[inside(xy, likely.shape)], likely.shape).tolist():
            if sign * likely[y, x] > -2:
                cv2.circle(evidence, (x, y), 2, sign * nats, -1)
    return evidence


def _without_specks(mask: BoolArray, points: ObjectPoints, prior: FloatArray) -> BoolArray:
    """The mask's parts that hold a point, or are no specks and lie mostly where the prior is above 0."""
    count, label, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    area = stats[:, cv2.CC_STAT_AREA]
    expected = np.bincount(label.ravel(), (prior > 0).ravel(), count) / np.maximum(area, 1)
    keep = (area >= 0.02 * area[1:].max()) & (expected > 0.5)
    keep[1 + int(area[1:].argmax())] = True
    keep[ids_at(label, points.xy[points.visible])] = True
    keep[0] = False
    return np.asarray(keep[label])
