"""Depth smoothed over time along the trajectory of each pixel's scene point.

The temporal filter of Kopf, Rong, Huang, Robust Consistent Video Depth Estimation, CVPR 2021, section 3.4: a pixel's
depth becomes the mean of the depths of the same point in the frames around it, each transformed into its camera.
Chained optical flow gives the pixel of another frame that shows the point, for it does not share the errors of depth
and cameras, which are to be corrected. Where flow fails the forward-backward check (textureless walls, mostly), the
point is projected by its depth and the cameras, and counts as seen where the other frame's depth agrees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from trackime.arrays import BoolArray, FloatArray, UInt8
from trackime.errors import InputError, ShapeError
from trackime.geometry import Cameras
from trackime.imaging import MIN_FLOW_SIDE, DenseFlow, flow_magnitude, forward_backward_error

from .initial_depth import is_known

RADIUS = 4
"""Frames to each side."""

DECAY = 3.0
"""The weight of another frame's depth is exp(-DECAY ratio), ratio >= 1 (Kopf et al., section 3.4)."""

LIMIT = 1.25
"""Two depths that differ by more than this factor belong to two surfaces, whatever the flow."""

SIDE = 1024
"""Flow is computed on frames whose longer side is this at most, or it would dominate memory and time."""

_MISS, _MISS_SHARE = 1.0, 0.05  # forward-backward error: pixels, and a share of the flow
_EDGE = 0.1  # where bilinear sampling differs by this share from the nearest pixel it mixes two surfaces
_FAR = -1e6  # a place outside of any frame
_AGREE = 0.05  # the logarithm of a ratio at which agreement has fallen to 1/e


@dataclass(frozen=True, eq=False)
class Filtered:
    """A smoothed frame.

    Attributes:
        t: its index.
        frame: uint8 [H, W, 3], as it was given.
        depth: float32 [H, W], 0 where unknown.
        agreement: float32 [H, W] in (0, 1], 0 where unknown: 1 where each frame of the window sees the same depth;
            1 / frames of the window where no other frame contributes (a mover, or occluded in all others).
    """

    t: int
    frame: UInt8
    depth: FloatArray
    agreement: FloatArray


@dataclass(eq=False)
class _WindowFrame:
    """A frame of the window; `flows` and `seen`: to the frame before (-1) and the next (+1)."""

    frame: UInt8
    grey: UInt8  # [h, w], of the size flow is computed at
    depth: FloatArray  # [H, W]
    moving: UInt8  # [H, W]
    flows: dict[int, FloatArray] = field(default_factory=dict)  # [h, w, 2]
    seen: dict[int, UInt8] = field(default_factory=dict)  # [h, w], 0 or 255


class TemporalFilter:
    """Takes frames and depth maps in order, and gives each, smoothed, `radius` frames later.

    Memory holds 2 radius + 1 frames, whatever the length of the video.

    Args:
        cameras: of all frames; their size is that of frames and maps.
        radius: frames to each side; 0 changes nothing.
        limit: depths that differ by more than this factor are not averaged.
        shots: [F], one number per frame: where it changes, tracks end (a cut, parts that cameras do not join).

    Raises:
        InputError: radius below 0, limit not above 1.
        ShapeError: shots not [F].
    """

    def __init__(
        self, cameras: Cameras, radius: int = RADIUS, limit: float = LIMIT, shots: npt.ArrayLike | None = None
    ) -> None:
        if radius < 0 or not limit > 1:
            raise InputError(f"filter: expected a radius of 0 or more and a limit above 1, got {radius} and {limit:g}")
        self.cameras, self.radius, self.limit = cameras, radius, limit
        self._shots = np.zeros(len(cameras), np.int64) if shots is None else np.asarray(shots)
        if self._shots.shape != (len(cameras),):
            raise ShapeError("shots", f"[{len(cameras)}]", self._shots.shape)
        self._held: dict[int, _WindowFrame] = {}
        self._taken = self._given = 0
        self._flow = DenseFlow()
        width, height = cameras.width, cameras.height
        part = min(1.0, SIDE / max(width, height))
        self._size = (max(1, round(width * part)), max(1, round(height * part)))
        x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
        self._x, self._y = (np.ascontiguousarray(v) for v in np.broadcast_arrays(x, y))

    def push(self, frame: UInt8, depth: FloatArray, moving: BoolArray | None = None) -> Filtered | None:
        """Add the next frame; gives the one `radius` before it, or None where there is none yet.

        Args:
            frame: uint8 [H, W, 3].
            depth: [H, W], z; 0, negative, NaN and infinity: unknown.
            moving: bool [H, W], moving objects: left unchanged, and not used for the background.

        Raises:
            ShapeError: arrays of another size than the cameras'.
            InputError: more frames than cameras.
        """
        t, size = self._taken, (self.cameras.height, self.cameras.width)
        if t >= len(self.cameras):
            raise InputError(f"filter: expected {len(self.cameras)} frames, as many as cameras, got more")
        if frame.shape != (*size, 3) or frame.dtype != np.uint8:
            raise ShapeError("frame", f"uint8 [{size[0]}, {size[1]}, 3]", frame.shape)
        if depth.shape != size:
            raise ShapeError("depth", f"[{size[0]}, {size[1]}]", depth.shape)
        if moving is not None and moving.shape != size:
            raise ShapeError("moving", f"[{size[0]}, {size[1]}]", moving.shape)
        known = is_known(depth)
        mask = np.zeros(size, np.uint8) if moving is None else np.ascontiguousarray(moving).astype(np.uint8)
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if self._size != (size[1], size[0]):
            grey = cv2.resize(grey, self._size, interpolation=cv2.INTER_AREA)
        held = _WindowFrame(frame, np.asarray(grey, np.uint8), np.where(known, depth, 0).astype(np.float32), mask)
        self._held[t] = held
        self._taken += 1
        if t and self.radius and self._shots[t] == self._shots[t - 1]:
            self._link(self._held[t - 1], held)
        return self._give() if self._taken > self.radius else None

    def finish(self) -> Iterator[Filtered]:
        """The frames that are left, in order."""
        while self._given < self._taken:
            yield self._give()

    def _link(self, one: _WindowFrame, other: _WindowFrame) -> None:
        """Flow both ways between neighbours, and where the two agree."""
        if min(self._size) < MIN_FLOW_SIDE:
            return
        there, back = self._flow(one.grey, other.grey), self._flow(other.grey, one.grey)
        for held, step, way, return_way in ((one, 1, there, back), (other, -1, back, there)):
            held.flows[step] = way
            good = forward_backward_error(way, return_way) < _MISS + _MISS_SHARE * flow_magnitude(way)
            held.seen[step] = np.where(good, np.uint8(255), np.uint8(0))

    def _give(self) -> Filtered:
        """Filter the next frame in turn and drop what no later one needs."""
        t = self._given
        self._given += 1
        here = self._held[t]
        total = np.where(here.depth > 0, np.float32(np.exp(-DECAY)), np.float32(0))
        own, weights, agree = total.copy(), total.copy(), (here.depth > 0).astype(np.float32)
        total *= here.depth
        window = 1
        for step in (-1, 1):
            window += self._along(t, step, total, weights, agree)
        # Pixels that no other frame contributes to stay as they are, to the bit.
        depth = np.divide(total, weights, out=here.depth.copy(), where=weights > own)
        self._held.pop(t - self.radius, None)
        return Filtered(t, here.frame, depth, agree / np.float32(window))

    def _along(self, t: int, step: int, total: FloatArray, weights: FloatArray, agree: FloatArray) -> int:
        """Add the depths that the frames to one side give each pixel of frame t; returns the number of those frames."""
        here, x, y, frames = self._held[t], self._x, self._y, 0
        (h, w), (wide, high) = here.depth.shape, self._size
        fx, fy = np.float32(wide / w), np.float32(high / h)
        flows = (here.depth > 0) & (here.moving == 0)  # followed by flow up to here
        alive = flows.copy()  # and by either
        safe = np.where(here.depth > 0, here.depth, np.float32(1))
        for s in range(t + step, t + step * (self.radius + 1), step):
            before, there = self._held[s - step], self._held.get(s)
            if there is None or step not in before.flows:
                break
            frames += 1
            # Centres of a frame shrunk by f: x -> (x + 0.5) f - 0.5.
            at = ((x + np.float32(0.5)) * fx - np.float32(0.5), (y + np.float32(0.5)) * fy - np.float32(0.5))
            way = _look(before.flows[step], *at)
            flows &= _look(before.seen[step], *at) > 229  # nine tenths of the pixels it lies between
            x, y = x + way[..., 0] / fx, y + way[..., 1] / fy
            flows &= _inside(x, y)
            px, py = self._projected(safe, t, s)
            i, j = np.where(flows, x, px), np.where(flows, y, py)
            shown = (_look(there.moving, i, j, cv2.INTER_NEAREST) == 0) & _inside(i, j)
            flows &= shown
            z = self._moved(_sample(there.depth, i, j), i, j, s, t)
            good = alive & shown & (z > 0)
            z = np.where(good, z, safe)
            ratio = np.maximum(z / safe, safe / z)
            good &= ratio <= self.limit
            alive &= flows | good
            weight = np.where(good, np.exp(np.float32(-DECAY) * ratio), np.float32(0))
            total += weight * z
            weights += weight
            agree += np.where(good, np.exp(np.log(ratio) / np.float32(-_AGREE)), np.float32(0))
        return frames

    def _projected(self, depth: FloatArray, t: int, s: int) -> tuple[FloatArray, FloatArray]:
        """Positions in frame s of frame t's pixels at depths [H, W]; 0 at a centre, far outside if behind a camera."""
        cameras = self.cameras
        way = (np.linalg.inv(cameras.poses[s]) @ cameras.poses[t]).astype(np.float32)
        cx, cy = np.float32((cameras.width - 1) / 2), np.float32((cameras.height - 1) / 2)
        f = np.float32(cameras.focal[t])
        u, v = (self._x[:1] - cx) / f, (self._y[:, :1] - cy) / f
        x, y, z = (depth * (way[k, 0] * u + way[k, 1] * v + way[k, 2]) + way[k, 3] for k in range(3))
        scale = np.float32(cameras.focal[s]) / np.where(z > 0, z, np.float32(1))
        return np.where(z > 0, x * scale + cx, np.float32(_FAR)), np.where(z > 0, y * scale + cy, np.float32(_FAR))

    def _moved(self, z: FloatArray, x: FloatArray, y: FloatArray, s: int, t: int) -> FloatArray:
        """Depth in camera t of what frame s sees at (x, y), 0 at a centre, in depth z; 0 where that is unknown."""
        cameras = self.cameras
        row = (np.linalg.inv(cameras.poses[t]) @ cameras.poses[s])[2].astype(np.float32)
        f = np.float32(cameras.focal[s])
        u, v = (x - np.float32((cameras.width - 1) / 2)) / f, (y - np.float32((cameras.height - 1) / 2)) / f
        moved = (row[0] * u + row[1] * v + row[2]) * z + row[3]
        return np.asarray(np.where(z > 0, moved, np.float32(0)))


def smooth(
    frames: Iterable[tuple[UInt8, FloatArray, BoolArray | None]],
    cameras: Cameras,
    radius: int = RADIUS,
    limit: float = LIMIT,
    shots: npt.ArrayLike | None = None,
) -> Iterator[Filtered]:
    """Smooth the depth of a video; arguments and errors as `TemporalFilter` has them.

    Args:
        frames: (frame, depth, moving) of each, in order; read `radius` frames ahead of the result.
    """
    window = TemporalFilter(cameras, radius, limit, shots)
    for item in frames:
        done = window.push(*item)
        if done is not None:
            yield done
    yield from window.finish()


def _look(image: FloatArray | UInt8, x: FloatArray, y: FloatArray, way: int = cv2.INTER_LINEAR) -> FloatArray:
    """An image at places [H, W], 0 at a centre; edges repeated."""
    return np.asarray(cv2.remap(image, x, y, way, borderMode=cv2.BORDER_REPLICATE))


def _inside(x: FloatArray, y: FloatArray) -> BoolArray:
    """Whether places [H, W], 0 at a centre, lie in a frame of the same size."""
    h, w = x.shape
    return np.asarray((x >= -0.5) & (x <= w - 0.5) & (y >= -0.5) & (y <= h - 0.5))


def _sample(depth: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Depth between pixels, of one surface: the nearest pixel's where bilinear interpolation would mix two."""
    nearest, between = _look(depth, x, y, cv2.INTER_NEAREST), _look(depth, x, y)
    return np.where(np.abs(between - nearest) < np.float32(_EDGE) * nearest, between, nearest)
