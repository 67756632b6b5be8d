"""Cameras of keyframes and their points, added one at a time to the best pair.

Structure from motion as in Snavely, Seitz, Szeliski, Photo tourism, 2006, and Schoenberger, Frahm,
Structure-from-motion revisited, CVPR 2016, without their matching: tracks are the matches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from trackime.arrays import BoolArray

from ._bundle import Prior, adjust
from ._refine import refine_poses
from ._relative import RelativePose
from ._reprojection import Observations, Views, errors
from ._resection import FEWEST, resect
from ._triangulate import angles, triangulate

NARROW = 1.5
"""Degrees between the rays of a point at least."""
VIEWS = 3
"""Cameras that must see a point where they fit."""
EARLY, FINAL = 4.0, 3.0
"""Pixels an observation may be off at most while cameras are added, and in the end; see SPREAD."""
SPREAD, WIDER, LEAST = 3.5, 6.0, 0.5
"""An observation may be off by SPREAD medians of the errors of those that fit in the end, WIDER while cameras are
added; LEAST pixels at least, FINAL or EARLY at most. The better the tracks, the slower the movers that are excluded."""
AGREE = 0.6
"""Share of a point's observations that must fit in the end: tracks that drift, or are on movers, fit for a while."""
COUNT = 3.0
"""Weight of the prior of the focal length, in observations one pixel off: errors along a track are correlated."""
LOCAL = 6
"""Cameras that a local adjustment moves."""
GROWTH = 1.3
"""Growth of the number of cameras after which all are adjusted."""
FREE = 4
"""Cameras from which an unknown focal length is solved for."""
ROUNDS = 6
"""Global adjustments in the end at most, each after inliers are re-estimated."""
SETTLED = 0.97
"""Ratio of the tolerances of two successive ones above which the last was reached."""
BEND, SHARP = 1.5, 0.05
"""Huber's loss bends at BEND medians of the errors, between SHARP and 1 pixel: the better the tracks, the smaller the
motion that is excluded."""


@dataclass(frozen=True)
class FocalGuess:
    """The initial focal length, pixels; whether it is given, otherwise the standard deviation of its logarithm."""

    focal: float
    given: bool
    sigma: float = 0.4


class IncrementalMapper:
    """Keyframes, their observations, and the cameras and points solved so far.

    Args:
        seen: all observations of the points in the keyframes, in order of point, then camera: `camera` is the place of
            a keyframe in the list of them.
        cameras: how many keyframes there are.
        points: how many points there are.
        lens: of the focal length.
        early: pixels that an observation may be off while cameras are added.

    Attributes:
        views: cameras and points; NaN where a point is unknown.
        have: bool [M], the keyframes whose cameras are known.
        inliers: bool [K], inliers among the observations.
        tolerance: pixels that an observation may be off in the end.
    """

    def __init__(self, seen: Observations, cameras: int, points: int, lens: FocalGuess, early: float = EARLY) -> None:
        self.seen, self.lens, self._early = seen, lens, early
        nothing = np.full((points, 3), np.nan)
        self.views = Views(np.tile(np.eye(3), (cameras, 1, 1)), np.zeros((cameras, 3)), nothing, lens.focal)
        self.registered = np.zeros(cameras, bool)
        self.inliers = np.zeros(len(seen.point), bool)
        self.tolerance = FINAL
        self._anchor = 0

    @property
    def _known(self) -> BoolArray:
        return np.isfinite(self.views.points[:, 0])

    def begin(self, i: int, j: int, pair: RelativePose) -> None:
        """Takes keyframes i and j as the first two cameras."""
        self.registered[[i, j]] = True
        self._anchor = i
        rotation, shift = self.views.rotation.copy(), self.views.shift.copy()
        rotation[j], shift[j] = pair.rotation, pair.shift
        self.views = replace(self.views, rotation=rotation, shift=shift)
        self.classify(self._early, 2)
        self._adjust(self.registered, focal=False)
        self.classify(self._limit(WIDER, self._early), 2)

    def grow(self, report: Callable[[int, int], None]) -> None:
        """Adds the other keyframes, the one that sees most known points first."""
        failed: set[int] = set()
        adjusted = int(self.registered.sum())
        while True:
            key = self._next(failed)
            if key is None and self.registered.sum() > adjusted:
                self._globally(self._limit(WIDER, self._early))  # what failed may fit now
                adjusted, failed = int(self.registered.sum()), set()
                continue
            if key is None:
                return
            if not self._add(key):
                failed.add(key)
                continue
            count = int(self.registered.sum())
            report(count, len(self.registered))
            need = min(VIEWS, count - 1) if count <= VIEWS else VIEWS
            if count >= GROWTH * adjusted or count <= 6:
                self._globally(self._limit(WIDER, self._early), need)
                adjusted = count
            else:
                self.classify(self._limit(WIDER, self._early), need, known_too=False)
                self._adjust(self._near(key), focal=False)

    def finish(self) -> None:
        """All cameras and points together, with what does not fit left out."""
        for _ in range(ROUNDS):
            last = self.tolerance
            self.tolerance = self._limit(SPREAD, FINAL)
            self._globally(self.tolerance, iterations=30, tolerance=1e-6, agree=AGREE)
            if self.tolerance > SETTLED * last:
                break

    def _limit(self, spread: float, most: float) -> float:
        off = errors(self.views, self.seen.take(self.inliers))
        return float(np.clip(spread * np.median(off), LEAST, most)) if len(off) else most

    def classify(self, pixels: float, need: int = VIEWS, known_too: bool = True, agree: float = 0.0) -> None:
        """Re-estimates which observations are inliers and which points are known, and triangulates the others.

        Args:
            pixels: an observation may be off.
            need: cameras that must see a point.
            known_too: re-estimate known points as well.
            agree: share of a point's observations that must fit.
        """
        rows = self.registered[self.seen.camera]
        if known_too:
            known = self._known[self.seen.point] & rows
            self.inliers[:] = False
            self.inliers[known] = errors(self.views, self.seen.take(known)) <= pixels
            self._keep(self._sound(need, agree))
        missing = np.flatnonzero(rows & ~self._known[self.seen.point])
        if not len(missing):
            return
        whose, number = np.unique(self.seen.point[missing], return_inverse=True)
        found = triangulate(self.views, replace(self.seen.take(missing), point=number), len(whose), pixels)
        share = found.count / np.maximum(np.bincount(number, minlength=len(whose)), 1)
        good = (found.count >= need) & (found.angle >= NARROW) & (share >= agree)
        points = self.views.points.copy()
        points[whose[good]] = found.points[good]
        self.views = replace(self.views, points=points)
        self.inliers[missing] = found.inliers & good[number]
        # In a known point's new camera.
        fresh = rows & ~self.inliers & self._known[self.seen.point]
        fresh[missing] = False
        self.inliers[fresh] = errors(self.views, self.seen.take(fresh)) <= pixels

    def _sound(self, need: int, agree: float) -> BoolArray:
        """bool [P], points of enough observations that fit, at angles wide enough."""
        good = self.seen.take(self.inliers)
        n = len(self.views.points)
        count = np.bincount(good.point, minlength=n)
        every = np.bincount(self.seen.point[self.registered[self.seen.camera]], minlength=n)
        return (count >= need) & (count >= agree * every) & (angles(self.views, good, n) >= NARROW)

    def _keep(self, points: BoolArray) -> None:
        self.views = replace(self.views, points=np.where(points[:, None], self.views.points, np.nan))
        self.inliers &= points[self.seen.point]

    def _next(self, failed: set[int]) -> int | None:
        """The keyframe without a camera that sees most known points."""
        rows = self._known[self.seen.point] & ~self.registered[self.seen.camera]
        count = np.bincount(self.seen.camera[rows], minlength=len(self.registered))
        count[list(failed)] = 0
        key = int(np.argmax(count))
        return key if count[key] >= FEWEST else None

    def _add(self, key: int) -> bool:
        rows = np.flatnonzero((self.seen.camera == key) & self._known[self.seen.point])
        part = self.seen.take(rows)
        pose = resect(self.views.points[part.point], part.xy, self.views.focal)
        if pose is None:
            return False
        one = Views(pose[0][None], pose[1][None], self.views.points, self.views.focal)
        one = refine_poses(one, replace(part, camera=np.zeros_like(part.camera)))
        rotation, shift = self.views.rotation.copy(), self.views.shift.copy()
        rotation[key], shift[key] = one.rotation[0], one.shift[0]
        self.views = replace(self.views, rotation=rotation, shift=shift)
        self.registered[key] = True
        return True

    def _near(self, key: int) -> BoolArray:
        """bool [M], the new camera and those that share most points with it."""
        mine = np.zeros(len(self.views.points), bool)
        mine[self.seen.point[(self.seen.camera == key) & self.inliers]] = True
        shared = np.bincount(self.seen.camera[self.inliers & mine[self.seen.point]], minlength=len(self.registered))
        shared[self._anchor] = 0
        out = np.zeros(len(self.registered), bool)
        out[np.argsort(-shared, kind="stable")[:LOCAL]] = True
        return out & (shared > 0)

    def _globally(
        self, pixels: float, need: int = VIEWS, iterations: int = 12, tolerance: float = 1e-3, agree: float = 0.0
    ) -> None:  # fmt: skip
        self.classify(pixels, need, agree=agree)
        focal = not self.lens.given and self.registered.sum() >= FREE
        self._adjust(self.registered, focal, iterations, tolerance)
        self.classify(pixels, need, agree=agree)

    def _adjust(self, move: BoolArray, focal: bool, iterations: int = 8, tolerance: float = 1e-3) -> None:
        rows = np.flatnonzero(self.inliers)
        touched = np.zeros(len(self.views.points), bool)
        touched[self.seen.point[rows[move[self.seen.camera[rows]]]]] = True
        rows = rows[touched[self.seen.point[rows]]]
        if not len(rows):
            return
        part = self.seen.take(rows)
        cameras, camera = np.unique(part.camera, return_inverse=True)
        whose, point = np.unique(part.point, return_inverse=True)
        views = Views(
            self.views.rotation[cameras], self.views.shift[cameras], self.views.points[whose], self.views.focal
        )
        free = move[cameras] & (cameras != self._anchor)
        bend = float(np.clip(BEND * np.median(errors(views, replace(part, camera=camera, point=point))), SHARP, 1.0))
        part = replace(part, camera=camera, point=point, weight=part.weight / bend)
        prior = None if self.lens.given else Prior(self.lens.focal, self.lens.sigma, COUNT)
        views, _ = adjust(
            views, part, free=free, prior=prior, focal=focal,
            iterations=iterations, tolerance=tolerance,
        )  # fmt: skip
        rotation, shift, points = self.views.rotation.copy(), self.views.shift.copy(), self.views.points.copy()
        rotation[cameras], shift[cameras], points[whose] = views.rotation, views.shift, views.points
        self.views = Views(rotation, shift, points, views.focal)
