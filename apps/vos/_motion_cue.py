"""Pixels that move with an object or with its surroundings: evidence for newly visible parts of a turning object."""

from __future__ import annotations

import numpy as np

from trackime.arrays import Float32, FloatArray

from ._warp import Warp, affine, pixel_centres

_SAMPLES = 200
"""Pixels that a motion is fitted to."""

_SPREAD = 1.5
"""Pixels by which optical flow may be off before it counts as another motion."""


def motion_ratio(flow: Warp, distance: FloatArray, reach: float) -> Float32:
    """In [-1, 1], [h, w]: above 0 where the flow is the object's, below where it is its surroundings', else near 0.

    Each of the two moves affinely, fitted to the flow inside the propagated mask and in a ring around it. Where both
    move alike the ratio is 0.

    Args:
        flow: to the frame before.
        distance: [h, w] signed distance to the propagated mask's border, positive inside.
        reach: outer radius of the ring, pixels.
    """
    inside = np.flatnonzero((distance > 1.5) if (distance > 1.5).sum() > 20 else distance > 0)
    around = np.flatnonzero((distance < -3) & (distance > -reach))
    if len(inside) < 8 or len(around) < 8:
        return np.zeros(distance.shape, np.float32)
    centres = pixel_centres(*distance.shape)
    residuals = []
    for pixels in (inside, around):
        pick = pixels[np.linspace(0, len(pixels) - 1, min(_SAMPLES, len(pixels))).astype(int)]
        model, _ = affine(centres.reshape(-1, 2)[pick], flow.source.reshape(-1, 2)[pick], np.ones(len(pick)))
        moved = centres @ model[:2].astype(np.float32) + model[2].astype(np.float32)
        residuals.append(np.sqrt(((flow.source - moved) ** 2).sum(-1)))
    spread = _SPREAD + flow.error
    own, other = (np.minimum(r / spread, 3) for r in residuals)
    return np.asarray(np.tanh(0.5 * (other**2 - own**2)), np.float32)
