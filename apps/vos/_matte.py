"""Alpha mattes of masks: the object's share of every border pixel, and the object's own colour there.

A mask is binary, while border pixels mix object and background; composited as they are they show a fringe.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from trackime.arrays import BoolArray, Float32, UInt8
from trackime.errors import ShapeError

_BAND = 0.0025
"""Half the width of the band where alpha may lie between 0 and 1, as a share of the frame's diagonal."""

_APART = 40.0
"""Colours of object and background that differ by this much (of 255) settle half of alpha, the mask the rest."""


def band_of(size: tuple[int, int]) -> int:
    """Half the width of the soft band in pixels, 1 or more, for a frame of (H, W)."""
    return max(1, round(_BAND * float(np.hypot(*size))))


def soften(mask: npt.ArrayLike, frame: UInt8, band: int | None = None) -> Float32:
    """Alpha float32 [H, W] of an object: 1 inside, 0 outside, something between in a band about the mask's border.

    In the band a pixel's colour is modelled as a mixture of the object's and the background's colours around it, means
    F and B of either side of the band: I = alpha F + (1 - alpha) B, by least squares over the channels. The weight of
    this estimate grows with the difference of F and B and with how well I lies between them; the rest is the
    antialiased mask.

    Args:
        mask: bool [H, W].
        frame: uint8 [H, W, 3].
        band: half the width of the band in pixels; None: `_BAND` of the diagonal.

    Raises:
        ShapeError: a frame of another size.
    """
    inside = np.asarray(mask, bool)
    if frame.shape != (*inside.shape, 3):
        raise ShapeError("frame", f"{[*inside.shape, 3]} as the mask", frame.shape)
    width = band_of(inside.shape) if band is None else band
    alpha = inside.astype(np.float32)
    box = _box(inside, 4 * width + 2)
    if box is None or inside.all():
        return alpha
    near, image = inside[box], frame[box].astype(np.float32)
    depth = _depth(near)
    # Colours next to the border may be mixed: they get a small weight, since thin parts have no others.
    weight = 1e-2 + np.clip(np.abs(depth) - 0.5, 0, width) ** 2
    on, off = (_mean(image, np.where(side, weight, 0).astype(np.float32), 3 * width) for side in (near, ~near))
    line = on - off
    length = (line**2).sum(-1)
    share = ((image - off) * line).sum(-1) / (length + 1e-6)
    beside = ((image - off - share[..., None] * line) ** 2).sum(-1)
    trust = length / (length + _APART**2 + 4 * beside)
    values = (1 - trust) * cv2.GaussianBlur(near.astype(np.float32), (0, 0), 0.7) + trust * np.clip(share, 0, 1)
    alpha[box] = np.where(np.abs(depth) <= width + 0.5, values, near)
    return alpha


def _mean(image: Float32, weights: Float32, radius: int) -> Float32:
    """Mean colours [h, w, 3] of the pixels within a radius, by weights [h, w]."""
    side = (2 * radius + 1, 2 * radius + 1)
    top = cv2.blur(image * weights[..., None], side, borderType=cv2.BORDER_REFLECT)
    return np.asarray(top / (cv2.blur(weights, side, borderType=cv2.BORDER_REFLECT)[..., None] + 1e-6), np.float32)


def _box(inside: BoolArray, margin: int) -> tuple[slice, slice] | None:
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    return (
        slice(max(0, rows[0] - margin), rows[-1] + 1 + margin),
        slice(max(0, columns[0] - margin), columns[-1] + 1 + margin),
    )


def _depth(inside: BoolArray) -> Float32:
    """Pixels from the border, above 0 inside; the frame's own border is none."""
    if inside.all():
        return np.full(inside.shape, np.inf, np.float32)
    deep = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    far = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(np.where(inside, deep, -far), np.float32)


def colours(frame: UInt8, alpha: Float32, radius: int | None = None) -> UInt8:
    """The object's own colours uint8 [H, W, 3] where alpha is above 0, black elsewhere; straight, not multiplied.

    Where a pixel is not the object's alone its colour is taken apart: with F and B the means of the object's and the
    background's colours around it, weighted by alpha and 1 - alpha, it is F + alpha (I - alpha F - (1 - alpha) B)
    (Forte, ICIP 2021, eq. 4-7).

    Args:
        frame: uint8 [H, W, 3].
        alpha: [H, W].
        radius: of the means in pixels; None: three times the soft band's half width.

    Raises:
        ShapeError: an alpha of another size.
    """
    if alpha.shape != frame.shape[:2]:
        raise ShapeError("alpha", f"{list(frame.shape[:2])} as the frame", alpha.shape)
    out = np.zeros_like(frame)
    box = _box(alpha > 0, 1)
    if box is None:
        return out
    reach = 3 * band_of(alpha.shape) if radius is None else radius
    image, share = frame[box].astype(np.float32), alpha[box][..., None].astype(np.float32)
    on, off = _mean(image, share[..., 0], reach), _mean(image, 1 - share[..., 0], reach)
    own = np.clip(on + share * (image - share * on - (1 - share) * off), 0, 255)
    own = np.where(share >= 1, image, np.where(share > 0, own, 0))
    out[box] = np.round(own).astype(np.uint8)
    return out
