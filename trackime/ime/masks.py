"""Masks along tracks: what the points of an instance, prompted where they are seen, say it covers.

TrackIME's joint segmentation: each visible query prompts the segmenter at its tracked position, an instance's
mask is the visibility-weighted mean of its queries' masks. Masks in turn show which neighbours have strayed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from trackime.arrays import BoolArray, FloatArray, IntArray, blocks, ids_at
from trackime.geometry import to_torch
from trackime.ime._context import RunContext
from trackime.ime.neighbours import point_masks
from trackime.types import VISIBLE

_STRAYED = 0.1
"""Weight left to a neighbour that is outside its instance's mask: masks err too."""


def _instance_mask(context: RunContext, embedding: Any, xy: FloatArray, visibility: FloatArray) -> FloatArray | None:
    """The mask of one instance in one frame.

    Args:
        context: see `point_masks`.
        embedding: the segmenter's, of the frame.
        xy: [M, 2] the instance's points, pixels.
        visibility: [M]; those above one half prompt.

    Returns:
        float32 [H, W], the visibility-weighted mean of the points' confidences; None where no point is visible.
    """
    rows = np.flatnonzero(visibility > VISIBLE)
    total, weight = None, 0.0
    for batch, masks in point_masks(context, embedding, xy, rows):
        for row, mask in zip(batch, masks, strict=True):
            part = mask * visibility[row]
            total = part if total is None else total + part
            weight += float(visibility[row])
    return None if total is None else (total / weight).astype(np.float32)


def instance_masks(
    context: RunContext, xy: FloatArray, visibility: FloatArray, instance: IntArray
) -> Iterator[tuple[int, dict[int, FloatArray]]]:
    """Masks of all instances, frame by frame; memory follows the chunk.

    Args:
        context: the video of the tracks, segmenter; config: confidence, chunk.
        xy: [N, T, 2] pixels.
        visibility: [N, T].
        instance: [N] the group of each point.

    Yields:
        (t, masks) with float32 [H, W] confidences by instance; instances with no visible point are left out.
    """
    groups = {int(i): np.flatnonzero(instance == i) for i in np.unique(instance)}
    segmenter, length = context.segmenter, len(context.video)
    for part in blocks(length, context.config.chunk):
        for t, frame in enumerate(context.video.read(part.start, part.stop), part.start):
            embedding = segmenter.encode(to_torch(frame[None], segmenter.device)[0])
            found = {}
            for key, rows in groups.items():
                mask = _instance_mask(context, embedding, xy[rows, t], visibility[rows, t])
                if mask is not None:
                    found[key] = mask
            yield t, found
            context.progress("masks", t + 1, length)


def membership(
    context: RunContext, xy: FloatArray, visibility: FloatArray, instance: IntArray, prompts: BoolArray
) -> FloatArray:
    """How far each neighbour may be trusted in each frame: 1 inside its instance's mask, `_STRAYED` outside.

    Args:
        context: see `instance_masks`.
        xy: [P, T, 2] neighbours, pixels.
        visibility: [P, T].
        instance: [P] their instance.
        prompts: bool [P], the points that prompt (the queries); the others are judged by the mask they make.

    Returns:
        float32 [P, T]; 1 where the instance has no mask.
    """
    trust = np.ones(visibility.shape, np.float32)
    for t, masks in instance_masks(context, xy, visibility * prompts[:, None], instance):
        for key, mask in masks.items():
            rows = np.flatnonzero(instance == key)
            trust[rows, t] = np.where(ids_at(mask >= context.config.confidence, xy[rows, t]), 1.0, _STRAYED)
    return trust
