"""Depth maps of a whole video from its cameras: plane sweep of every frame, agreement between frames, filling.

Two passes over the video. The first sweeps every frame at a small size against frames that see the same from elsewhere,
and keeps the maps on disk. The second asks for each frame which of its depths other frames' maps confirm, and fills the
rest at full resolution along the colours of the frame. What is said to move but has a depth that other frames confirm
does not move: what moves is seen in another place by each.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import cv2
import numpy as np
import torch

from trackime.arrays import BoolArray, Float64, FloatArray, Int64
from trackime.devices import resolve_device
from trackime.errors import InputError, SolveError
from trackime.geometry import Cameras
from trackime.progress import Report
from trackime.types import RaggedTracks
from trackime.video import Video

from ..maps import DepthMaps
from ._fill import fill
from ._fill_movers import stand
from ._left_right import Surface, agree
from ._neighbours import Sightings, bounds, choose
from ._plane_sweep import View, sweep
from ._sgm import aggregate, lowest

Value = TypeVar("Value")


@dataclass(frozen=True)
class Dense:
    """How dense depth is measured.

    Attributes:
        side: longer side of the frames that are swept, pixels; smaller ones as they are.
        planes: inverse depths that are tried.
        views: frames a frame is compared with.
        reach: frames to either side of which they are chosen.
        confirm: views that have to agree with a depth for it to count as measured.
        tolerance: relative difference of depth up to which they do.
        single: confidence, of 1, in a depth that one view confirms.
        guess: in one that none does.
        still: a piece of what is said to move stands still where a larger share of it than this is confirmed; in
            rendered rooms 5 to 42 % of true movers were, and above 80 % of what was taken for one.
    """

    side: int = 320
    planes: int = 64
    views: int = 6
    reach: int = 40
    confirm: int = 2
    tolerance: float = 0.03
    single: float = 0.1
    guess: float = 0.0001
    still: float = 0.5

    def __post_init__(self) -> None:
        for name, low in (("side", 16), ("planes", 8), ("views", 1), ("reach", 1), ("confirm", 1)):
            if getattr(self, name) < low:
                raise InputError(f"{name}: expected at least {low}, got {getattr(self, name)}")


def densify(
    video: Video,
    cameras: Cameras,
    points: Float64,
    point: Int64,
    trails: RaggedTracks,
    maps: DepthMaps,
    *,
    dynamic: Callable[[int], BoolArray] | None = None,
    slow: Callable[[int], BoolArray] | None = None,
    usable: BoolArray | None = None,
    config: Dense | None = None,
    device: str | torch.device = "cpu",
    progress: Report | None = None,
) -> None:
    """Write a map of every frame to `maps` at the video's resolution, with the mask of what was measured.

    Frames that `maps` has are not made again. Memory holds small grey frames of 2 `reach` + 1 frames and one frame's
    volume, whatever the length of the video. Maps of the first pass lie in the folder `sweep` beside the others until
    all are done.

    Args:
        video: of F frames.
        cameras: of its frames.
        points: float64 [P, 3], world: what the sweep's range, the choice of views and the filling go by.
        point: int64 [P], the trail of each point.
        trails: where they were seen.
        maps: what is written to; depth is z in units of the cameras.
        dynamic: frame index to bool [H, W], what seems to move: filled, never measured, unless other frames confirm it.
        slow: the same, of what moves so little that its depth as if it stood still, no farther than what it hides, is
            better than what is filled in; never measured either. It may hold what `dynamic` does, which comes first.
        usable: bool [F], frames others may be compared with; None: all.
        config: see `Dense`.
        device: where volumes are computed.
        progress: called with the stage, frames done, frames in all.

    Raises:
        InputError: cameras, trails or maps of another video.
        SolveError: no point at all lies ahead of a camera.
    """
    Densify(video, cameras, points, point, trails, maps, dynamic, slow, usable, config or Dense(), device).run(progress)


class Densify:
    """The state of `densify`; same arguments."""

    def __init__(
        self,
        video: Video,
        cameras: Cameras,
        points: Float64,
        point: Int64,
        trails: RaggedTracks,
        maps: DepthMaps,
        dynamic: Callable[[int], BoolArray] | None,
        slow: Callable[[int], BoolArray] | None,
        usable: BoolArray | None,
        config: Dense,
        device: str | torch.device,
    ) -> None:
        frames = len(video)
        for name, count in (("cameras", len(cameras)), ("trails", trails.frames), ("maps", maps.frames)):
            if count != frames:
                raise InputError(f"densify: expected {name} of the video's {frames} frames, got {count}")
        if (cameras.width, cameras.height) != (video.info.width, video.info.height):
            raise InputError(
                f"densify: expected cameras of {video.info.width}x{video.info.height} pixels as the video's, "
                f"got {cameras.width}x{cameras.height}"
            )
        self.video, self.cameras, self.maps = video, cameras, maps
        self.dynamic, self.slow, self.usable, self.config = dynamic, slow, usable, config
        self.device = resolve_device(device)
        self.sightings = Sightings(cameras, np.asarray(points, np.float64), point, trails)
        scale = min(1.0, config.side / max(cameras.width, cameras.height))
        self.size = (max(8, round(cameras.height * scale)), max(8, round(cameras.width * scale)))  # h, w
        self.raw = DepthMaps(maps.folder / "sweep", frames)

    def run(self, progress: Report | None = None) -> None:
        """Both passes."""
        frames = len(self.video)
        missing = [t for t in range(frames) if t not in self.maps]
        if not missing:
            return
        window = _Greys(self.video.again(), self.size)
        for t in range(frames):
            if t not in self.raw:
                near = self._views(t)
                self.raw.write(t, self.measure(t, near, window))
            if progress:
                progress("sweep", t + 1, frames)
        whole = _Recent(self._surface, 2 * self.config.reach)
        moving = _Recent(lambda t: self._judged(t, whole, self.dynamic), 2 * self.config.reach)
        surfaces = _Recent(lambda t: self._without(whole(t), moving(t)), 2 * self.config.reach)
        for done, t in enumerate(missing):
            depth, measured = self.finish(t, surfaces, moving(t))
            mask, slow = moving(t), self._judged(t, whole, self.slow)
            if slow is not None:
                measured &= ~slow
                depth = np.minimum(depth, stand(depth, slow))
                mask = slow if mask is None else mask | slow
            self.maps.write(t, depth, measured, mask)
            if progress:
                progress("fill", frames - len(missing) + done + 1, frames)
        shutil.rmtree(self.raw.folder, ignore_errors=True)

    def _views(self, t: int) -> list[int]:
        low, high = max(0, t - self.config.reach), min(len(self.cameras), t + self.config.reach + 1)
        near = self.sightings.near(t)
        return choose(self.cameras, near, t, np.arange(low, high), self.config.views, self.usable)

    def intrinsics(self, t: int) -> torch.Tensor:
        """float64 [3, 3] of frame t at the size of the sweep."""
        h, w = self.size
        scale = np.diag([w / self.cameras.width, h / self.cameras.height, 1.0])
        return torch.from_numpy(scale @ self.cameras.intrinsics(t))

    def measure(self, t: int, near: list[int], window: _Greys) -> FloatArray:
        """Depth float32 [h, w] of frame t by the sweep alone, 0 where there is none at all."""
        span = bounds(self.cameras, self.sightings.near(t), t)
        if not near or span is None:
            return np.zeros(self.size, np.float32)
        first = max(0, t - self.config.reach)
        views = [self._view(s, window(s, first)) for s in (t, *near)]
        inverse = torch.linspace(1 / span[1], 1 / span[0], self.config.planes, device=self.device)
        cost = sweep(views[0], views[1:], inverse)
        index = lowest(aggregate(cost, views[0].grey))
        step = float(inverse[1] - inverse[0])
        return (1 / (inverse[0] + step * index)).cpu().numpy()

    def _view(self, t: int, grey: FloatArray) -> View:
        return View(torch.from_numpy(grey).to(self.device), self.intrinsics(t), torch.from_numpy(self.cameras.poses[t]))

    def _surface(self, t: int) -> Surface:
        """What the sweep saw in frame t, what moves and all."""
        depth = torch.from_numpy(self.raw.depth(t)).to(self.device)
        inverse = torch.where(depth > 0, 1 / depth, torch.nan)
        return Surface(inverse, self.intrinsics(t), torch.from_numpy(self.cameras.poses[t]))

    def _without(self, surface: Surface, moving: BoolArray | None) -> Surface:
        """A surface without what moves, bool [H, W]."""
        if moving is None or not moving.any():
            return surface
        small = cv2.resize(moving.astype(np.float32), self.size[::-1], interpolation=cv2.INTER_AREA) > 0
        inverse = surface.inverse.masked_fill(torch.from_numpy(small).to(self.device), torch.nan)
        return replace(surface, inverse=inverse)

    def _judged(
        self, t: int, whole: Callable[[int], Surface], masks: Callable[[int], BoolArray] | None
    ) -> BoolArray | None:
        """The mask of frame t, bool [H, W], without the pieces whose depth other frames confirm."""
        if masks is None:
            return None
        moving = masks(t)
        if not moving.any():
            return moving
        votes = agree(whole(t), [whole(s) for s in self._views(t)], self.config.tolerance)
        sure = ((votes.agree >= self.config.confirm) & (votes.agree > votes.through)).cpu().numpy()
        sure = cv2.resize(sure.astype(np.uint8), moving.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        count, pieces = cv2.connectedComponents(moving.astype(np.uint8))
        size = np.bincount(pieces.ravel(), minlength=count)
        still = np.bincount(pieces[sure], minlength=count) > self.config.still * size
        return moving & ~still[pieces]

    def finish(
        self, t: int, surfaces: Callable[[int], Surface], moving: BoolArray | None
    ) -> tuple[FloatArray, BoolArray]:
        """Depth float32 [H, W] of frame t without holes, and where it was measured, bool [H, W]."""
        config, size = self.config, (self.cameras.width, self.cameras.height)
        own = surfaces(t)
        votes = agree(own, [surfaces(s) for s in self._views(t)], config.tolerance)
        known = torch.isfinite(own.inverse)
        sure = (votes.agree >= config.confirm) & (votes.agree > votes.through) & known
        # What other views look through is no surface, most often the rim of one in front of it; what none looks at was
        # not even guessed.
        guess = torch.where((votes.seen > 0) & (votes.through == 0), config.guess, 0.0)
        trust = torch.where(votes.agree > votes.through, config.single, guess)
        trust = torch.where(sure, 1.0, trust) * known
        depth = torch.where(known, 1 / votes.inverse, 0.0).cpu().numpy()
        confidence = trust.to(torch.float32).cpu().numpy()
        image = self.video[t]
        self._add_points(t, depth, confidence, moving)
        if not confidence.any():
            near = self.sightings.near(t)
            span = bounds(self.cameras, near, t)
            if span is None:
                raise SolveError(f"depth: frame {t} sees no reconstructed point; a --depth-model does not need any")
            depth[:], confidence[:] = (span[0] * span[1]) ** 0.5, 1
        result = fill(depth, confidence, image)
        measured = cv2.resize(sure.cpu().numpy().astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        if moving is not None and moving.any():
            measured &= ~moving
            result = stand(result, moving)
        return result, measured

    def _add_points(self, t: int, depth: FloatArray, confidence: FloatArray, moving: BoolArray | None) -> None:
        """Reconstructed points are samples where the sweep has none."""
        _, xy, z = self.sightings.at(t)
        h, w = self.size
        x = np.clip((xy[:, 0] * w / self.cameras.width).astype(np.int64), 0, w - 1)
        y = np.clip((xy[:, 1] * h / self.cameras.height).astype(np.int64), 0, h - 1)
        if moving is not None:
            column = np.clip(xy[:, 0].astype(np.int64), 0, self.cameras.width - 1)
            row = np.clip(xy[:, 1].astype(np.int64), 0, self.cameras.height - 1)
            still = ~moving[row, column]
            x, y, z = x[still], y[still], z[still]
        new = confidence[y, x] < 1
        depth[y[new], x[new]], confidence[y[new], x[new]] = z[new], 1


class _Greys:
    """Small grey frames, read in the order of the video; those before a frame no longer asked for are dropped."""

    def __init__(self, video: Video, size: tuple[int, int]) -> None:
        self.video, self.size = video, size
        self.kept: dict[int, FloatArray] = {}
        self.next: int | None = None

    def __call__(self, t: int, first: int) -> FloatArray:
        """float32 [h, w] in [0, 1] of frame t; frames before `first` will not be asked for again."""
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


class _Recent(Generic[Value]):
    """What a function of a frame index gave of late."""

    def __init__(self, make: Callable[[int], Value], most: int) -> None:
        self.make, self.most = make, most
        self.kept: dict[int, Value] = {}

    def __call__(self, t: int) -> Value:
        if t not in self.kept:
            while len(self.kept) > self.most:
                del self.kept[min(self.kept)]
            self.kept[t] = self.make(t)
        return self.kept[t]
