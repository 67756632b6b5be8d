"""Masks along tracks: what the points of an instance, prompted where they are seen, say it covers.

TrackIME's joint segmentation: each visible query prompts the segmenter at its tracked position, an instance's
mask is the visibility-weighted mean of its queries' masks. Masks in turn tell which neighbours have strayed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from trackime.arrays import BoolArray, FloatArray, IntArray
from trackime.geometry import to_torch
from trackime.ime._drive import FrameReader
from trackime.ime.neighbours import inside_mask, point_masks
from trackime.ime.operations import Operations
from trackime.progress import Report, silent
from trackime.segmenters import PointSegmenter
from trackime.types import VISIBLE

_STRAYED = 0.1
"""Weight left to a neighbour that is outside its instance's mask: masks err too."""


def _instance_mask(
    embedding: Any,
    xy: FloatArray,
    visibility: FloatArray,
    segmenter: PointSegmenter,
    threshold: float = 0.5,
    operations: Operations | None = None,
) -> FloatArray | None:
    """The mask of one instance in one frame.

    Args:
        embedding: the segmenter's, of the frame.
        xy: [M, 2] the instance's points, pixels.
        visibility: [M]; those above one half prompt.
        segmenter: any.
        threshold: confidence that counts as inside when masks are reused.
        operations: counts prompts.

    Returns:
        float32 [H, W], the visibility-weighted mean of the points' confidences; None where no point is visible.
    """
    rows = np.flatnonzero(visibility > VISIBLE)
    total, weight = None, 0.0
    for batch, masks in point_masks(embedding, xy, rows, segmenter, threshold, operations or Operations()):
        for row, mask in zip(batch, masks, strict=True):
            part = mask * visibility[row]
            total = part if total is None else total + part
            weight += float(visibility[row])
    return None if total is None else (total / weight).astype(np.float32)


def instance_masks(
    video: FrameReader,
    xy: FloatArray,
    visibility: FloatArray,
    instance: IntArray,
    segmenter: PointSegmenter,
    threshold: float = 0.5,
    chunk: int = 16,
    operations: Operations | None = None,
    progress: Report = silent,
) -> Iterator[tuple[int, dict[int, FloatArray]]]:
    """Masks of all instances, frame by frame; memory follows the chunk.

    Args:
        video: the video of the tracks.
        xy: [N, T, 2] pixels.
        visibility: [N, T].
        instance: [N] the group of each point.
        segmenter: any.
        threshold: see `_instance_mask`.
        chunk: frames decoded at once.
        operations: counts prompts.
        progress: told of frames done.

    Yields:
        (t, masks) with float32 [H, W] confidences by instance; instances with no visible point are left out.
    """
    groups = {int(i): np.flatnonzero(instance == i) for i in np.unique(instance)}
    for t0 in range(0, len(video), chunk):
        frames = video.read(t0, min(len(video), t0 + chunk))
        for t, frame in enumerate(frames, t0):
            embedding = segmenter.encode(to_torch(frame[None], segmenter.device)[0])
            found = {}
            for key, rows in groups.items():
                mask = _instance_mask(embedding, xy[rows, t], visibility[rows, t], segmenter, threshold, operations)
                if mask is not None:
                    found[key] = mask
            yield t, found
            progress("masks", t + 1, len(video))


def membership(
    video: FrameReader,
    xy: FloatArray,
    visibility: FloatArray,
    instance: IntArray,
    prompts: BoolArray,
    segmenter: PointSegmenter,
    threshold: float,
    chunk: int,
    operations: Operations,
    progress: Report = silent,
) -> FloatArray:
    """How far each neighbour may be trusted in each frame: 1 inside its instance's mask, `_STRAYED` outside.

    Args:
        xy: [P, T, 2] neighbours, pixels.
        visibility: [P, T].
        instance: [P] their instance.
        prompts: bool [P], the points that prompt (the queries); the others are judged by the mask they make.

    Returns:
        float32 [P, T]; 1 where the instance has no mask.
    """
    trust = np.ones(visibility.shape, np.float32)
    asked = visibility * prompts[:, None]
    for t, masks in instance_masks(video, xy, asked, instance, segmenter, threshold, chunk, operations, progress):
        for key, mask in masks.items():
            rows = np.flatnonzero(instance == key)
            trust[rows, t] = np.where(inside_mask(mask >= threshold, xy[rows, t]), 1.0, _STRAYED)
    return trust
