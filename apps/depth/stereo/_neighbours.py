"""Selection of the frames that a frame is swept against, and of the range of depths."""

from __future__ import annotations

import numpy as np

from trackime.arrays import BoolArray, Float64, Int64, inside
from trackime.geometry import Cameras
from trackime.types import RaggedTracks

ANGLE = 5.0
"""Degrees between the rays of two views that suit the sweep best."""
SHARP, WIDE = 2.5, 8.0
"""Standard deviations in degrees of the weight of a view below and above that angle."""
APART = 3.0
"""Degrees between two selected views from which on the second adds information."""
ENOUGH = 30
"""Points below which those seen in nearby frames are added."""
MOST = 300
"""Points considered for a frame, at most."""
OFF = 4.0
"""Pixels of reprojection error above which a sighting is left out."""


class SparsePoints:
    """Reconstructed points by the frame they are seen in.

    Args:
        cameras: of the video.
        points: float64 [P, 3], world.
        point: int64 [P], the track of each.
        tracks: where they were seen.
    """

    def __init__(self, cameras: Cameras, points: Float64, point: Int64, tracks: RaggedTracks) -> None:
        self.cameras, self.points = cameras, points
        self.tracks = tracks
        self._own = np.full(len(tracks), -1)  # of the points, that of each track
        self._own[point] = np.arange(len(point))

    def at(self, t: int) -> tuple[Int64, Float64, Float64]:
        """Points [M] seen in frame t, where float64 [M, 2], and how deep [M]; those that do not fit are left out."""
        seen, rows = self.tracks.at(t)
        known = self._own[seen] >= 0
        which, xy = self._own[seen[known]], self.tracks.xy[rows[known]]
        projected, z = self.cameras.project(self.points[which], t)
        good = (z > 0) & (np.linalg.norm(np.nan_to_num(projected, nan=np.inf) - xy, axis=1) < OFF)
        return which[good], xy[good].astype(np.float64), z[good]

    def near(self, t: int) -> Float64:
        """World points [M, 3] that represent what frame t sees: its own, or where those are few the nearest frames'."""
        which = self.at(t)[0]
        reach = 1
        while len(which) < ENOUGH and reach < len(self.cameras):
            frames = range(max(0, t - reach), min(len(self.cameras), t + reach + 1))
            which = np.unique(np.concatenate([self.at(s)[0] for s in frames]))
            reach *= 2
        if len(which) > MOST:
            which = which[np.linspace(0, len(which) - 1, MOST).astype(np.int64)]
        return self.points[which]


def select_views(
    cameras: Cameras, points: Float64, t: int, candidates: Int64, views: int, usable: BoolArray | None = None
) -> list[int]:
    """The frames of `candidates` that frame t is best measured against: seeing the same points [M, 3] at a good angle.

    The worth of a view is a Gaussian of its angle, as Yao et al. 2018 (MVSNet, section 4.1) have it, times the share of
    the points it sees; frames beside one already chosen are worth less. At most `views`, best first; none where no
    frame has any parallax.
    """
    candidates = candidates[candidates != t]
    if usable is not None:
        candidates = candidates[usable[candidates]]
    if not len(candidates) or not len(points):
        return []
    center = cameras.poses[:, :3, 3]
    ray = points - center[t]
    depth = ray @ cameras.poses[t, :3, 2]
    points, ray, depth = points[depth > 0], ray[depth > 0], depth[depth > 0]
    if not len(points):
        return []
    worth = np.zeros(len(candidates))
    for k, s in enumerate(candidates):
        xy, z = cameras.project(points, int(s))
        seen = inside(xy, (cameras.height, cameras.width)) & (z > 0)
        zoom = np.median(z[seen] * cameras.focal[t] / (depth[seen] * cameras.focal[s])) if seen.any() else 0
        if seen.mean() < 0.3 or not 0.6 < zoom < 1.6:
            continue
        angle = _angle(ray, points - center[s])
        if angle < 0.1:
            continue
        width = SHARP if angle < ANGLE else WIDE
        worth[k] = seen.mean() * np.exp(-(((angle - ANGLE) / width) ** 2) / 2)
    chosen: list[int] = []
    while len(chosen) < views and worth.max(initial=0) > 0:
        best = int(worth.argmax())
        chosen.append(int(candidates[best]))
        worth[best] = 0
        for k in np.flatnonzero(worth).tolist():
            apart = _angle(points - center[candidates[k]], points - center[chosen[-1]])
            worth[k] *= min(1.0, 0.05 + apart / APART)
    return chosen


def _angle(a: Float64, b: Float64) -> float:
    """Median angle in degrees between rays [M, 3] and [M, 3]."""
    cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
    return float(np.degrees(np.arccos(np.clip(np.median(cosine), -1, 1))))


def depth_bounds(cameras: Cameras, points: Float64, t: int) -> tuple[float, float] | None:
    """Nearest and farthest depth worth a look in frame t, from points [M, 3] it sees; None where none is ahead."""
    depth = (points - cameras.poses[t, :3, 3]) @ cameras.poses[t, :3, 2]
    depth = depth[depth > 0]
    if not len(depth):
        return None
    near, far = np.percentile(depth, (2, 98))
    return float(0.7 * near), float(1.6 * far)
