"""Depth maps of a whole video from its cameras: plane sweep, left-right check between frames, filling.

Two passes over the video. The first sweeps every frame at a small size against frames that see the same from elsewhere
and keeps the maps on disk. The second checks each frame's depths against other frames' maps and fills the rest at full
resolution along the colours of the frame. A pixel marked as moving whose depth other frames confirm is static: each
frame sees a mover at another place.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import torch

from trackime.arrays import BoolArray, Float32, FloatArray, ids_at, pixels_at
from trackime.devices import resolve_device
from trackime.errors import InputError, SolveError
from trackime.progress import Report, silent
from trackime.video import Video

from ..initial_depth import DepthMaps, resize_mask
from ._fill import fill
from ._fill_movers import fill_movers
from ._left_right import left_right_check
from ._neighbours import SparsePoints, depth_bounds, select_views
from ._plane_sweep import plane_sweep
from ._sgm import aggregate, winner_takes_all
from ._views import PosedMap


@dataclass(frozen=True)
class DensifyConfig:
    """Options of dense depth.

    Attributes:
        side: longer side in pixels that larger frames are swept at.
        planes: inverse depths of the sweep.
        views: frames that a frame is compared with.
        reach: frames to either side among which they are selected.
        confirm: views that have to agree with a depth for it to count as measured.
        tolerance: relative difference of depth up to which they agree.
        single: confidence, of 1, in a depth that one view confirms.
        guess: confidence in a depth that no view confirms.
        static: a piece of what is marked as moving is static where more than this share of it is confirmed; in rendered
            rooms 5 to 42 % of true movers were confirmed, and above 80 % of false ones.
    """

    side: int = 320
    planes: int = 64
    views: int = 6
    reach: int = 40
    confirm: int = 2
    tolerance: float = 0.03
    single: float = 0.1
    guess: float = 0.0001
    static: float = 0.5

    def __post_init__(self) -> None:
        for name, low in (("side", 16), ("planes", 8), ("views", 1), ("reach", 1), ("confirm", 1)):
            if getattr(self, name) < low:
                raise InputError(f"{name}: expected at least {low}, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class MovingMasks:
    """Objects that may move: functions of a frame index that give bool [H, W]; None: nothing.

    Attributes:
        dynamic: filled, never measured, unless other frames confirm its depth.
        slow: moves so little that its depth as if it were static, no farther than what it hides, is better than a
            filled one; never measured either. It may contain `dynamic`, which takes precedence.
    """

    dynamic: Callable[[int], BoolArray] | None = None
    slow: Callable[[int], BoolArray] | None = None


def densify(
    video: Video,
    points: SparsePoints,
    maps: DepthMaps,
    *,
    masks: MovingMasks | None = None,
    usable: BoolArray | None = None,
    config: DensifyConfig | None = None,
    device: str | torch.device = "cpu",
    progress: Report = silent,
) -> None:
    """Write a map of every frame to `maps` at the video's resolution, with the mask of what was measured.

    Frames that `maps` has are not computed again. Memory holds small grey frames of 2 `reach` + 1 frames and one
    frame's cost volume, whatever the length of the video. Maps of the first pass are kept in the folder `sweep` beside
    the others until all are done.

    Args:
        video: of F frames.
        points: sparse points and the video's cameras: they give the range of depths and the views to compare with.
        maps: where to write; depth is z in units of the cameras.
        masks: what may move.
        usable: bool [F], frames that others may be compared with; None: all.
        config: see `DensifyConfig`; None: the defaults.
        device: of the cost volumes.
        progress: called with the stage, frames done, frames in all.

    Raises:
        InputError: cameras, tracks or maps of another video.
        SolveError: no point at all lies ahead of a camera.
    """
    cameras, frames = points.cameras, len(video)
    for name, count in (("cameras", len(cameras)), ("tracks", points.tracks.frames), ("maps", maps.frames)):
        if count != frames:
            raise InputError(f"densify: expected {name} of the video's {frames} frames, got {count}")
    if (cameras.width, cameras.height) != (video.info.width, video.info.height):
        raise InputError(
            f"densify: expected cameras of {video.info.width}x{video.info.height} pixels as the video's, "
            f"got {cameras.width}x{cameras.height}"
        )
    stereo = _Stereo(video, points, usable, config or DensifyConfig(), resolve_device(device))
    missing = [t for t in range(frames) if t not in maps]
    if not missing:
        return
    raw = DepthMaps(maps.folder / "sweep", frames)
    stereo.sweep_all(raw, progress)
    stereo.finish_all(raw, maps, missing, masks or MovingMasks(), progress)
    shutil.rmtree(raw.folder, ignore_errors=True)


class _Stereo:
    """Both passes of `densify`."""

    def __init__(
        self, video: Video, points: SparsePoints, usable: BoolArray | None, config: DensifyConfig, device: torch.device
    ) -> None:
        self.video, self.points, self.cameras = video, points, points.cameras
        self.usable, self.config, self.device = usable, config, device
        scale = min(1.0, config.side / max(self.cameras.width, self.cameras.height))
        self.size = (max(8, round(self.cameras.height * scale)), max(8, round(self.cameras.width * scale)))  # h, w

    def sweep_all(self, raw: DepthMaps, progress: Report) -> None:
        """The first pass: a map by plane sweep of every frame that `raw` has not."""
        window = _GreyWindow(self.video.again(), self.size)
        for t in range(len(self.video)):
            if t not in raw:
                raw.write(t, self._sweep(t, window))
            progress("sweep", t + 1, len(self.video))

    def finish_all(
        self, raw: DepthMaps, maps: DepthMaps, missing: list[int], masks: MovingMasks, progress: Report
    ) -> None:
        """The second pass: the maps of the frames `missing`."""
        frames, recent = len(self.video), 2 * self.config.reach + 1
        whole = lru_cache(recent)(lambda t: self._posed_depth(t, raw))
        moving = lru_cache(recent)(lambda t: self._unconfirmed(t, whole, masks.dynamic))
        static = lru_cache(recent)(lambda t: self._without(whole(t), moving(t)))
        for done, t in enumerate(missing):
            depth, measured = self._finish(t, static, moving(t))
            mask, slow = moving(t), self._unconfirmed(t, whole, masks.slow)
            if slow is not None:
                measured &= ~slow
                depth = np.minimum(depth, fill_movers(depth, slow))
                mask = slow if mask is None else mask | slow
            maps.write(t, depth, measured, mask)
            progress("fill", frames - len(missing) + done + 1, frames)

    def _views(self, t: int) -> list[int]:
        low, high = max(0, t - self.config.reach), min(len(self.cameras), t + self.config.reach + 1)
        near = self.points.near(t)
        return select_views(self.cameras, near, t, np.arange(low, high), self.config.views, self.usable)

    def _intrinsics(self, t: int) -> torch.Tensor:
        """float64 [3, 3] of frame t at the size of the sweep."""
        h, w = self.size
        scale = np.diag([w / self.cameras.width, h / self.cameras.height, 1.0])
        return torch.from_numpy(scale @ self.cameras.intrinsics(t))

    def _sweep(self, t: int, window: _GreyWindow) -> Float32:
        """Depth float32 [h, w] of frame t by the sweep alone, 0 where there is none at all."""
        near, span = self._views(t), depth_bounds(self.cameras, self.points.near(t), t)
        if not near or span is None:
            return np.zeros(self.size, np.float32)
        first = max(0, t - self.config.reach)
        views = [self._posed_image(s, window(s, first)) for s in (t, *near)]
        inverse = torch.linspace(1 / span[1], 1 / span[0], self.config.planes, device=self.device)
        cost = plane_sweep(views[0], views[1:], inverse)
        index = winner_takes_all(aggregate(cost, views[0].values))
        step = float(inverse[1] - inverse[0])
        return np.asarray((1 / (inverse[0] + step * index)).cpu(), np.float32)

    def _posed_image(self, t: int, grey: Float32) -> PosedMap:
        pose = torch.from_numpy(self.cameras.poses[t])
        return PosedMap(torch.from_numpy(grey).to(self.device), self._intrinsics(t), pose)

    def _posed_depth(self, t: int, raw: DepthMaps) -> PosedMap:
        """The depth that the sweep measured in frame t, moving objects included."""
        depth = torch.from_numpy(raw.depth(t)).to(self.device)
        inverse = torch.where(depth > 0, 1 / depth, torch.nan)
        return PosedMap(inverse, self._intrinsics(t), torch.from_numpy(self.cameras.poses[t]))

    def _without(self, depth: PosedMap, moving: BoolArray | None) -> PosedMap:
        """A map without moving objects, bool [H, W]."""
        if moving is None or not moving.any():
            return depth
        small = cv2.resize(moving.astype(np.float32), self.size[::-1], interpolation=cv2.INTER_AREA) > 0
        return replace(depth, values=depth.values.masked_fill(torch.from_numpy(small).to(self.device), torch.nan))

    def _unconfirmed(
        self, t: int, whole: Callable[[int], PosedMap], masks: Callable[[int], BoolArray] | None
    ) -> BoolArray | None:
        """The mask of frame t, bool [H, W], without the pieces whose depth other frames confirm."""
        if masks is None:
            return None
        moving = masks(t)
        if not moving.any():
            return moving
        votes = left_right_check(whole(t), [whole(s) for s in self._views(t)], self.config.tolerance)
        sure = (votes.consistent >= self.config.confirm) & (votes.consistent > votes.violations)
        confirmed = resize_mask(sure.cpu().numpy(), moving.shape)
        count, pieces = cv2.connectedComponents(moving.astype(np.uint8))
        size = np.bincount(pieces.ravel(), minlength=count)
        static = np.bincount(pieces[confirmed], minlength=count) > self.config.static * size
        return np.asarray(moving & ~static[pieces])

    def _finish(self, t: int, static: Callable[[int], PosedMap], moving: BoolArray | None) -> tuple[Float32, BoolArray]:
        """Depth float32 [H, W] of frame t without holes, and where it was measured, bool [H, W]."""
        config, own = self.config, static(t)
        votes = left_right_check(own, [static(s) for s in self._views(t)], config.tolerance)
        known = torch.isfinite(own.values)
        sure = (votes.consistent >= config.confirm) & (votes.consistent > votes.violations) & known
        # Depth whose free space others see through is no surface, most often the rim of a nearer one; depth in the
        # view of no other frame is not even a guess.
        guess = torch.where((votes.seen > 0) & (votes.violations == 0), config.guess, 0.0)
        trust = torch.where(votes.consistent > votes.violations, config.single, guess)
        trust = torch.where(sure, 1.0, trust) * known
        depth = torch.where(known, 1 / votes.inverse, 0.0).cpu().numpy()
        confidence = trust.to(torch.float32).cpu().numpy()
        image = self.video[t]
        self._add_points(t, depth, confidence, moving)
        if not confidence.any():
            span = depth_bounds(self.cameras, self.points.near(t), t)
            if span is None:
                raise SolveError(f"depth: frame {t} sees no reconstructed point; a --depth-model does not need any")
            depth[:], confidence[:] = (span[0] * span[1]) ** 0.5, 1
        result = fill(depth, confidence, image)
        measured = resize_mask(sure.cpu().numpy(), image.shape)
        if moving is not None and moving.any():
            measured &= ~moving
            result = fill_movers(result, moving)
        return result, measured

    def _add_points(self, t: int, depth: FloatArray, confidence: FloatArray, moving: BoolArray | None) -> None:
        """Set sparse points in the map [h, w] where the sweep has nothing sure."""
        _, xy, z = self.points.at(t)
        if moving is not None:
            static = ~ids_at(moving, xy)
            xy, z = xy[static], z[static]
        h, w = self.size
        x, y = pixels_at(xy * (w, h) / (self.cameras.width, self.cameras.height), self.size).T
        new = confidence[y, x] < 1
        depth[y[new], x[new]], confidence[y[new], x[new]] = z[new], 1


class _GreyWindow:
    """Small grey frames, read in the order of the video; those no longer needed are dropped."""

    def __init__(self, video: Video, size: tuple[int, int]) -> None:
        self.video, self.size = video, size
        self.kept: dict[int, Float32] = {}
        self.next: int | None = None

    def __call__(self, t: int, first: int) -> Float32:
        """float32 [h, w] in [0, 1] of frame t; frames before `first` are not needed any more."""
        for old in [s for s in self.kept if s < first]:
            del self.kept[old]
        if self.next is None or self.next < first:
            self.next = first
        while self.next <= t:
            image = self.video[self.next]
            small = cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA)
            grey = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2GRAY)
            self.kept[self.next] = np.asarray(grey, np.float32)
            self.next += 1
        return self.kept[t]
