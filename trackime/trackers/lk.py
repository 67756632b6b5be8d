"""Pyramidal Lucas-Kanade with a memory: needs no weights, works at the video's own resolution.

From frame to frame each point is followed by OpenCV's pyramidal Lucas-Kanade (Bouguet 2000), forward and back
(Kalal, Mikolajczyk and Matas 2010, "Forward-Backward Error"). Its surroundings are aligned with those in the query
frame by an affine map (Shi and Tomasi 1994, "Good Features to Track"), which takes out drift (Matthews, Ishikawa
and Baker 2004, "The Template Update Problem"). A logistic function of how well all this agrees is the visibility.
A point that is lost coasts along and is looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trackime.arrays import FloatArray, Int64, blocks, inside
from trackime.devices import resolve_device
from trackime.errors import InputError
from trackime.patches import (
    CENTRAL,
    GRID,
    FramePair,
    GreyFrame,
    Templates,
    align_patches,
    central_similarity,
    identity,
    length,
    patch_stride,
    plausible,
    search,
    similarity,
)
from trackime.trackers._options import check_positive
from trackime.trackers.base import Features, PointTracker

_LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601: share of red, green and blue in grey."""
_ALIGN_STEPS, _FIND_STEPS = 4, 8
"""Gauss-Newton steps of the alignment while followed, and after a search."""
_ALIKE = 0.8
"""Similarity with the query's surroundings from which the alignment is believed."""
_DRIFT_SAMPLES = 2.0
"""Farthest, in samples of the patch, that the alignment may pull a point."""
_LOST = 0.5
"""Visibility at which a point is no longer followed but looked for."""
_SURE = 0.8
"""Visibility from which the present appearance is remembered for a later search."""
_FOUND = 0.15
"""Probability from which a place found by search is gone on from. Low on purpose: most lost points are in view, and
a wrong place is soon lost again."""
_SEARCH_OFTEN = 8
"""Hidden frames after which a point is looked for in every second frame only."""
_REACH, _REACH_GROWTH, _REACH_MOST = 0.05, 0.015, 0.15
"""How far a hidden point is looked for, as shares of the shorter side: at first, more each frame, at most."""

_SEEN_WEIGHTS = np.array([2.33, -0.3, 2.27, -0.07, -3.85, -1.9, -0.6, -0.47, -1.67, -2.59], np.float32)
"""Logistic weights of the constant and of the cues in `_follow`, in order; from procedural worlds."""
_FOUND_WEIGHTS = np.array([0.06, -2.6, -1.35, -1.54, -0.37, 0.01], np.float32)
"""The same for the cues in `_look_for`."""


@dataclass
class LucasKanadeState:
    """The N points of one clip after `time` frames; arrays are written in place."""

    start: Int64  # [N] query frame
    xy: FloatArray  # [N, 2]
    velocity: FloatArray  # [N, 2] pixels a frame
    affine: FloatArray  # [N, 2, 2] from the query frame's surroundings to the present ones
    visibility: FloatArray  # [N]
    hidden: Int64  # [N] frames since last seen; 0: followed
    doubt: FloatArray  # [N] what is left of the doubt whether it was found in the right place
    templates: Templates  # of the query frame
    recent: FloatArray  # [N, G] surroundings when last surely seen
    time: int = 0
    last: GreyFrame | None = None


class LucasKanade(PointTracker):
    """The tracker that is always there. Follows each point on its own: others change nothing.

    It computes on the CPU whatever the device: `device` is checked to exist, frames may come from any, and results
    are CPU tensors (`self.device`).

    Args:
        device: checked, otherwise without effect.
        window: side in pixels of Lucas-Kanade's window, odd, at least 5; None: by frame size (15 where the
            shorter side is below 384 pixels, 19 below 640, ...).
        levels: highest pyramid level; None: as many as leave the window inside the frame.
        redetect: look for lost points; False: they coast for good.
        query_chunk: points handled at a time, which bounds memory and changes nothing else.

    Raises:
        DeviceError: no such device.
        InputError: a window that is even or too small, negative levels, a query_chunk below 1.
    """

    name = "lk"

    def __init__(
        self,
        device: str | torch.device = "cpu",
        window: int | None = None,
        levels: int | None = None,
        redetect: bool = True,
        query_chunk: int = 2048,
    ) -> None:
        resolve_device(device)
        if window is not None and (window < 5 or window % 2 == 0):
            raise InputError(f"window: expected an odd number of pixels of 5 or more, got {window}")
        if levels is not None and levels < 0:
            raise InputError(f"levels: expected 0 or more, got {levels}")
        check_positive(query_chunk=query_chunk)
        self.device = torch.device("cpu")
        self.window, self.levels, self.redetect, self.query_chunk = window, levels, redetect, query_chunk

    def encode(self, frames: Tensor) -> Features:
        """Grey frames [B][T]; see `PointTracker.encode`."""
        stride = patch_stride(frames.shape[-2:])
        weights = frames.new_tensor(_LUMA)[:, None, None]
        rows = []
        for clip in frames:
            # A frame at a time: the grey of a long clip as float would be as large as a third of the clip.
            greys = [((f * weights).sum(0) * 255 + 0.5).clamp(0, 255).to(torch.uint8).cpu().numpy() for f in clip]
            rows.append([GreyFrame(np.ascontiguousarray(grey), stride) for grey in greys])
        return Features({"frames": rows}, (frames.shape[-2], frames.shape[-1]))

    def open(self, queries: Tensor, size: tuple[int, int]) -> list[LucasKanadeState]:
        """See `PointTracker.open`."""
        return [_open(clip) for clip in queries.detach().cpu().to(torch.float32).numpy()]

    def advance(
        self, state: list[LucasKanadeState], features: Features
    ) -> tuple[Tensor, Tensor, list[LucasKanadeState]]:
        """See `PointTracker.advance`."""
        count = len(state[0].start) if state else 0
        xy = np.zeros((len(state), count, features.frames, 2), np.float32)
        visibility = np.zeros((len(state), count, features.frames), np.float32)
        for b, points in enumerate(state):
            for t, frame in enumerate(features.data["frames"][b]):
                self._step(points, frame)
                xy[b, :, t], visibility[b, :, t] = points.xy, points.visibility
        return torch.from_numpy(xy), torch.from_numpy(visibility), state

    def _step(self, points: LucasKanadeState, frame: GreyFrame) -> None:
        """One frame on."""
        running = np.flatnonzero(points.start < points.time)
        if points.last is not None and len(running):
            pair = FramePair.between(points.last, frame, self.window, self.levels)
            for rows in self._chunks(running[points.hidden[running] == 0]):
                _follow(points, rows, pair, self.redetect)
            for rows in self._chunks(running[points.hidden[running] > 0]):
                _coast(points, rows, pair)
                if self.redetect:
                    _look_for(points, rows, frame)
            points.visibility[running[~inside(points.xy[running], frame.hw)]] = 0
        for rows in self._chunks(np.flatnonzero(points.start == points.time)):
            templates = Templates.cut(frame.smooth, points.xy[rows], frame.stride)
            points.templates.put(rows, templates)
            points.recent[rows] = templates.patch
            points.visibility[rows] = inside(points.xy[rows], frame.hw)
        points.time += 1
        points.last = frame

    def _chunks(self, rows: Int64) -> Iterator[Int64]:
        return (rows[part] for part in blocks(len(rows), self.query_chunk))


def _open(queries: FloatArray) -> LucasKanadeState:
    """Points [N, 3] (x, y, t) before the first frame."""
    n = len(queries)
    return LucasKanadeState(
        start=np.rint(queries[:, 2]).astype(np.int64),
        xy=queries[:, :2].copy(),
        velocity=np.zeros((n, 2), np.float32),
        affine=identity(n),
        visibility=np.zeros(n, np.float32),
        hidden=np.zeros(n, np.int64),
        doubt=np.zeros(n, np.float32),
        templates=Templates.empty(n),
        recent=np.zeros((n, len(GRID)), np.float32),
    )


def _logistic(cues: list[FloatArray], weights: FloatArray) -> FloatArray:
    """Probability [N] of cues, each [N], after the constant 1."""
    columns = np.stack([np.ones_like(cues[0]), *cues], 1).astype(np.float32)
    logits = np.clip((columns * weights).sum(1), -30, 30)
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _follow(points: LucasKanadeState, rows: Int64, pair: FramePair, redetect: bool) -> None:
    """Move `rows` to the second frame; those whose visibility falls to LOST become hidden there."""
    start, stride = points.xy[rows], pair.after.stride
    match, patch = pair.follow(start, points.velocity[rows], redetect)
    templates = points.templates[rows]
    aligned = align_patches(pair.after.smooth, templates, match.xy, points.affine[rows], stride, _ALIGN_STEPS)
    aligned_xy, affine, aligned_patch = aligned
    alike = similarity(aligned_patch, templates.patch)
    pull = length(aligned_xy - match.xy) / np.float32(stride)
    change = np.take(match.patch, CENTRAL, axis=1).mean(1) - np.take(patch, CENTRAL, axis=1).mean(1)
    visibility = _logistic(
        [
            np.minimum(match.distance, 5),
            1 - match.similarity,
            1 - central_similarity(patch, match.patch),
            1 - alike,
            1 - central_similarity(aligned_patch, templates.patch),
            np.minimum(np.abs(change) / 10, 5),
            np.minimum(pull, 3),
            1 - np.maximum(similarity(match.patch, points.recent[rows]), alike),
            points.doubt[rows],
        ],
        _SEEN_WEIGHTS,
    )
    believed = plausible(affine) & (alike > _ALIKE)
    points.doubt[rows] *= np.where(believed, np.float32(0.5), np.float32(0.9))
    points.affine[rows[believed]] = affine[believed]
    pulled = believed & (pull < _DRIFT_SAMPLES)
    xy = np.where(pulled[:, None], aligned_xy, match.xy)
    seen = visibility > _LOST
    points.visibility[rows] = visibility
    points.xy[rows[seen]] = xy[seen]
    points.velocity[rows[seen]] = (points.velocity[rows[seen]] + (xy - start)[seen]) / 2
    points.recent[rows[visibility > _SURE]] = match.patch[visibility > _SURE]
    lost = rows[~seen]
    points.hidden[lost] = 1


def _coast(points: LucasKanadeState, rows: Int64, pair: FramePair) -> None:
    """Move hidden `rows` with their surroundings."""
    size, start = pair.after.size, points.xy[rows]
    # A frame's size beyond the frame is far enough for any return, and keeps the extrapolation finite.
    points.xy[rows] = np.clip(pair.coast(start, points.velocity[rows]), -size, 2 * size)
    points.velocity[rows] = points.xy[rows] - start
    points.visibility[rows[points.hidden[rows] > 1]] *= np.float32(0.7)


def _look_for(points: LucasKanadeState, rows: Int64, frame: GreyFrame) -> None:
    """Look for hidden `rows` around where they have coasted to; those found are followed from there on."""
    hidden = points.hidden[rows].astype(np.float32)
    reach = frame.side * np.minimum(np.float32(_REACH_MOST), _REACH + _REACH_GROWTH * hidden).astype(np.float32)
    points.hidden[rows] += 1
    due = (hidden <= _SEARCH_OFTEN) | (hidden % 2 == 0)
    near = due & (points.xy[rows] > -reach[:, None]).all(1) & (points.xy[rows] < frame.size + reach[:, None]).all(1)
    rows, hidden, reach = rows[near], hidden[near], reach[near]
    if not len(rows):
        return
    templates, middle = points.templates[rows], points.xy[rows]
    recent = _place(points, rows, points.recent[rows], templates, reach, frame)
    query = _place(points, rows, templates.patch, templates, reach, frame)
    better = query[2] > recent[2]
    xy = np.where(better[:, None], query[0], recent[0])
    affine = np.where(better[:, None, None], query[1], recent[1])
    score, alike, alike_centre = (np.where(better, q, r) for q, r in zip(query[2:], recent[2:], strict=True))
    cues = [
        1 - alike,
        1 - alike_centre,
        length(xy - middle) / reach,
        np.log(hidden),
        1 / (1 + templates.patch.std(1) / 5),
    ]
    probability = _logistic(cues, _FOUND_WEIGHTS)
    found = (score > -1) & (probability > _FOUND) & inside(xy, frame.hw)
    rows = rows[found]
    points.xy[rows], points.affine[rows] = xy[found], affine[found]
    # Mostly below one half: whether it is there is for the next frame to say, when it can be followed.
    points.visibility[rows] = probability[found]
    points.velocity[rows], points.hidden[rows], points.doubt[rows] = 0, 0, 1 - probability[found]


def _place(
    points: LucasKanadeState,
    rows: Int64,
    patches: FloatArray,
    templates: Templates,
    reach: FloatArray,
    frame: GreyFrame,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Search for `patches` [N, G] and align what is found with the templates.

    Returns:
        xy [N, 2], affine [N, 2, 2], score [N] (-1: impossible), similarity [N], central similarity [N].
    """
    guess = search(frame.coarse, frame.stride, patches, points.xy[rows], reach)
    xy, affine, patch = align_patches(frame.smooth, templates, guess, points.affine[rows], frame.stride, _FIND_STEPS)
    alike, alike_centre = similarity(patch, templates.patch), central_similarity(patch, templates.patch)
    possible = plausible(affine) & (length(xy - guess) < 6 * frame.stride)
    score = np.where(possible, np.minimum(alike, alike_centre + np.float32(0.1)), np.float32(-1))
    return xy, affine, score, alike, alike_centre
