"""How well a tracker does on real video: what checkpoints and recipes are chosen by.

Worlds are not enough: weights that were better on held-out worlds tracked real animals worse. Two measures stand
for real video, neither of them from a video that results are reported on:

- joints labelled in frames of DeepLabCut projects (`trackime.datasets`, kind "deeplabcut"): PCK, the share of labels
  with an error below `RealVideo.tolerance` of the frame's diagonal. Frames between labels are missing, so that
  motion is fast.
- forward-backward return on clips without labels: corners are tracked to the last frame, then back from their ends. The
  share that comes back within `RealVideo.near` pixels; a tracker that invents motion does not come back. Points that
  end hidden count as lost in `returned`; `returned_visible` is of those that end visible, with their share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from trackime.arrays import Float64, UInt8
from trackime.datasets import Sample, read
from trackime.errors import InputError
from trackime.geometry import resize_frames, to_torch
from trackime.trackers import PointTracker
from trackime.video import open_video


@dataclass(frozen=True)
class RealVideo:
    """What is measured on, and how.

    Attributes:
        labelled: DeepLabCut projects.
        clips: video files without labels.
        tolerance: share of a frame's diagonal that a joint may be off.
        longest_side: pixels; labelled frames are shrunk to it.
        lines: height in pixels that clips are shrunk to.
        frames, stride: frames of a clip, and the step between them.
        starts: frames of a clip at which a measurement starts; those too near to its end are left out.
        points: corners a measurement.
        near: pixels within which a point returned.
    """

    labelled: Sequence[str | Path] = ()
    clips: Sequence[str | Path] = ()
    tolerance: float = 0.02
    longest_side: int = 640
    lines: int = 360
    frames: int = 24
    stride: int = 2
    starts: tuple[int, ...] = (0, 60)
    points: int = 64
    near: float = 4.0

    def __post_init__(self) -> None:
        # Lists, as the command line gives them, cannot be hashed.
        object.__setattr__(self, "labelled", tuple(self.labelled))
        object.__setattr__(self, "clips", tuple(self.clips))
        if not self.labelled and not self.clips:
            raise InputError("real validation: expected labelled projects or clips, got neither")


def score_real(tracker: PointTracker, real: RealVideo) -> dict[str, float]:
    """The measures of the module, in shares.

    Returns:
        pck, and pck of each project by name; joints, how many labels that is of; returned, returned_visible and
        visible_end, means over clips and starts.

    Raises:
        FormatError: a project or clip that cannot be read.
    """
    scores: dict[str, float] = {}
    hits = joints = 0
    for project in real.labelled:
        right = np.concatenate([_joints(tracker, sample, real) for sample in read("deeplabcut", project)])
        scores[f"pck {Path(project).name}"] = float(right.mean())
        hits, joints = hits + int(right.sum()), joints + len(right)
    if real.labelled:
        scores |= {"pck": float(np.mean(list(scores.values()))), "joints": float(joints)}
    rows = [row for clip in real.clips for row in _returns(tracker, clip, real)]
    if rows:
        with np.errstate(invalid="ignore"):
            means = np.nanmean(rows, 0)
        scores |= dict(zip(("returned", "returned_visible", "visible_end"), map(float, means), strict=True))
    return scores


def _joints(tracker: PointTracker, sample: Sample, real: RealVideo) -> np.ndarray:
    """bool [K]: whether each label but the query's is met."""
    assert sample.tracks is not None and sample.known is not None and isinstance(sample.video, np.ndarray)
    h, w = sample.video.shape[1:3]
    shrink = min(1.0, real.longest_side / max(h, w))
    frames = resize_frames(to_torch(sample.video, tracker.device), (round(h * shrink), round(w * shrink)))
    scale = np.array([frames.shape[-1] / w, frames.shape[-2] / h])
    queries = np.array(sample.tracks.queries.xyt, np.float64)
    queries[:, :2] *= scale
    xy, _ = _track(tracker, frames, queries)
    error = np.linalg.norm(xy - sample.tracks.xy * scale, axis=-1)
    scored = sample.known & (np.arange(len(frames)) != queries[:, 2:])
    return np.asarray(error[scored] < real.tolerance * np.hypot(*frames.shape[-2:]))


def _returns(tracker: PointTracker, clip: str | Path, real: RealVideo) -> list[tuple[float, float, float]]:
    """Shares a start: returned, returned of those that end visible, and that end visible."""
    rows = []
    with open_video(clip) as video:
        h, w = video.info.height, video.info.width
        size = (real.lines, round(w * real.lines / h))
        reach = (real.frames - 1) * real.stride
        for start in (start for start in real.starts if start + reach < len(video)):
            pixels = np.concatenate([video[t][None] for t in range(start, start + reach + 1, real.stride)])
            rows.append(_return(tracker, resize_frames(to_torch(pixels, tracker.device), size), real))
    return rows


def _return(tracker: PointTracker, frames: Tensor, real: RealVideo) -> tuple[float, float, float]:
    first = (frames[0].mean(0) * 255).cpu().numpy().astype(np.uint8)
    start = _corners(first, real.points)
    there, seen = _track(tracker, frames, np.column_stack((start, np.zeros(len(start)))))
    last = len(frames) - 1
    back, _ = _track(tracker, frames, np.column_stack((there[:, last], np.full(len(start), last))))
    near = np.linalg.norm(back[:, 0] - start, axis=-1) < real.near
    ends = seen[:, last]
    return float((near & ends).mean()), float(near[ends].mean()) if ends.any() else np.nan, float(ends.mean())


def _corners(grey: UInt8, count: int) -> Float64:
    """float64 [N, 2]: strong corners at least 12 pixels apart, pixel centres at half-integers."""
    found = cv2.goodFeaturesToTrack(grey, count, 0.01, 12)
    return np.zeros((0, 2)) if found is None else np.asarray(found[:, 0] + 0.5, np.float64)


def _track(tracker: PointTracker, frames: Tensor, queries: Float64) -> tuple[Float64, np.ndarray]:
    """Positions float64 [N, T, 2] and visible bool [N, T] of queries [N, 3] in frames [T, 3, h, w]."""
    given = torch.as_tensor(np.asarray(queries), dtype=torch.float32, device=frames.device)
    xy, visibility = tracker.track(frames[None], given[None])
    return xy[0].double().cpu().numpy(), visibility[0].cpu().numpy() > 0.5
