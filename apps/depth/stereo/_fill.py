"""Depth where there is none, and at the image's resolution: weighted least squares that stop at colour edges.

Inverse depth v minimises  sum c (v - s)^2 + sum w (v_p - v_q)^2  over neighbouring pixels p, q, with s the samples, c
their confidence and w small across colour edges (Farbman et al. 2008, "Edge-preserving decompositions", with the
weights of Levin et al. 2004). Planes have an inverse depth that is linear in the image, so that walls are filled
exactly.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from trackime.arrays import BoolArray, Float32, FloatArray, UInt8
from trackime.errors import InputError, ShapeError

from ..initial_depth import is_known
from ._multigrid import ScreenedPoisson

SMOOTH = 3.0
"""Weight of a difference between neighbours of one colour, against a sample of confidence 1."""
EDGE = 0.03
"""Difference of colour (Lab, 0 .. 1) at which that weight has fallen to 1 / e."""
SPREAD = 3.0
"""Residual, in median residuals, at which the weight of a sample has fallen to one half."""
LEAST = 1e-4
"""That weight at the strongest edges, so that samples reach everywhere."""
JUMP = 0.05
"""Relative change of depth between neighbouring samples from which on the image decides where the edge is."""


def fill(
    depth: FloatArray,
    confidence: FloatArray | BoolArray,
    image: UInt8,
    *,
    robust: bool = True,
) -> Float32:
    """A depth map without holes at the resolution of `image`, with its edges.

    Args:
        depth: [h, w] over the whole of the image at any resolution; 0, NaN, infinite: unknown.
        confidence: [h, w], 0 or more (0: unknown, 1: sure); or bool, where it is known.
        image: uint8 [H, W, 3] RGB.
        robust: samples far from the first solution get less weight in a second solve.

    Returns:
        float32 [H, W], all above 0, within the range of the known depths.

    Raises:
        ShapeError: arrays that do not agree.
        InputError: no depth is known, confidence below 0 or not finite, an image that is not uint8.
    """
    values, trust = _checked(depth, confidence, image)
    known = is_known(values) & (trust > 0)
    if not known.any():
        raise InputError("fill: expected depth known in one pixel at least, got none")
    inverse = np.zeros(values.shape, np.float32)
    inverse[known] = 1 / values[known]
    scale = float(np.median(inverse[known]))
    inverse /= scale
    trust = np.where(known, trust, 0).astype(np.float32)
    if trust.shape != image.shape[:2]:
        trust *= _edge_confidence(inverse, known)
    sample, weight = _to_size(inverse, trust, image.shape[:2])
    across, down = _links(image)
    result = ScreenedPoisson(weight, across, down).solve(weight * sample)
    if robust:
        # Cauchy's weights about the median error, once (iteratively reweighted least squares).
        off = np.abs(result - sample)
        spread = max(SPREAD * float(np.median(off[weight > 0])), 0.01)
        less = weight / (1 + (off / spread) ** 2)
        result = ScreenedPoisson(less, across, down).solve(less * sample, result)
    low, high = inverse[known].min(), inverse[known].max()
    return np.asarray(1 / (np.clip(result, low, high) * scale), np.float32)


def _checked(depth: npt.ArrayLike, confidence: npt.ArrayLike, image: UInt8) -> tuple[Float32, Float32]:
    values, trust = np.asarray(depth, np.float32), np.asarray(confidence, np.float32)
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise ShapeError("fill: image", "[H, W, 3]", np.shape(image))
    if image.dtype != np.uint8:
        raise InputError(f"fill: expected an image of uint8, got {image.dtype}")
    if values.ndim != 2 or not values.size:
        raise ShapeError("fill: depth", "[h, w]", values.shape)
    if trust.shape != values.shape:
        raise ShapeError("fill: confidence", f"{list(values.shape)} as depth", trust.shape)
    if not np.isfinite(trust).all() or (trust < 0).any():
        raise InputError("fill: expected confidence of 0 or more, got NaN, infinity or less")
    return values, trust


def _links(image: UInt8) -> tuple[Float32, Float32]:
    """Weights between neighbours: [H, W - 1] across, [H - 1, W] down."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab) / 100
    out = []
    for one, other in ((lab[:, 1:], lab[:, :-1]), (lab[1:], lab[:-1])):
        off = np.sqrt(np.square(one - other).sum(-1))
        out.append(SMOOTH * np.maximum(np.exp(-off / EDGE), LEAST).astype(np.float32))
    return out[0], out[1]


def _edge_confidence(inverse: Float32, known: BoolArray) -> Float32:
    """Factor [h, w] below 1 for samples beside a jump of depth: coarse pixels there are of two surfaces."""
    ones = np.ones((3, 3), np.uint8)
    high = cv2.dilate(np.where(known, inverse, 0).astype(np.float32), ones)
    low = cv2.erode(np.where(known, inverse, np.float32(np.inf)).astype(np.float32), ones)
    jump = (high[known] - low[known]) / inverse[known]
    out = np.zeros(inverse.shape, np.float32)
    out[known] = 1 / (1 + (np.minimum(jump, 10) / JUMP) ** 4)
    return out


def _to_size(inverse: Float32, trust: Float32, size: tuple[int, int]) -> tuple[Float32, Float32]:
    """Samples and confidence at another size: means weighted by confidence, without unknown pixels."""
    if inverse.shape == tuple(size):
        return inverse, trust
    grow = size[0] >= inverse.shape[0] and size[1] >= inverse.shape[1]
    how = cv2.INTER_LINEAR if grow else cv2.INTER_AREA
    weight = cv2.resize(trust, (size[1], size[0]), interpolation=how)
    value = cv2.resize(trust * inverse, (size[1], size[0]), interpolation=how)
    sure = weight > 1e-6
    out = np.where(sure, value / np.where(sure, weight, 1), 0).astype(np.float32)
    # The total weight of a map is that of its own pixels, however many pixels the image has.
    share = np.float32(min(1.0, inverse.size / (size[0] * size[1])))
    return out, np.where(sure, weight * share, 0).astype(np.float32)
