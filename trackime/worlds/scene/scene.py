"""A 3D scene: its frames, depth, cameras, and ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from trackime.arrays import BoolArray, FloatArray, IntArray
from trackime.types import Queries, Tracks, VideoInfo
from trackime.worlds._frames import Rendered
from trackime.worlds.layers import truth
from trackime.worlds.scene import _raycast as raycast
from trackime.worlds.scene import _truth as scene_truth
from trackime.worlds.scene._pool import Pool
from trackime.worlds.scene._raycast import Body
from trackime.worlds.scene.options import SceneOptions


@dataclass(frozen=True, eq=False)
class Scene(Rendered):
    """A ray-cast room with things in it and a moving pinhole camera. Made by `make_scene`.

    Nothing is rendered until it is asked for; a frame depends on nothing but its number, so `frame`, `depth`, `mask`
    and `render` work on videos of any length in flat memory. Axes are OpenCV's (x right, y down, z forward), the world
    is the first camera (of each shot), depth is z, the centre of the top-left pixel is (0.5, 0.5).

    Attributes:
        info: size and times.
        seed: what it was made from.
        options: what it was made with.
        bodies: everything there is: rooms, what stands still, moving objects.
        poses: float64 [T, 4, 4], camera-to-world.
        lights: float64 [S, 3], the lamp of each shot.
        starts: first frame of each shot: (0,) without a cut.
        pool: the textures.
        device: where frames are rendered.
    """

    info: VideoInfo
    seed: int
    options: SceneOptions
    bodies: tuple[Body, ...]
    poses: FloatArray
    lights: FloatArray
    starts: tuple[int, ...]
    pool: Pool
    device: torch.device

    @property
    def focal(self) -> float:
        """Focal length in pixels, the same along x and y."""
        return float(self.info.width / 2 / np.tan(np.radians(self.options.fov) / 2))

    @property
    def intrinsics(self) -> FloatArray:
        """float64 [3, 3]: fx = fy = focal, the centre (W / 2, H / 2)."""
        w, h = self.info.width, self.info.height
        return np.array([[self.focal, 0, w / 2], [0, self.focal, h / 2], [0, 0, 1]])

    @property
    def dtype(self) -> torch.dtype:
        """Of the rays of depth and masks: float64, but float32 where there is nothing longer (mps)."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    @property
    def ends(self) -> tuple[int, ...]:
        """One past the last frame of each shot."""
        return (*self.starts[1:], len(self))

    @cached_property
    def instances(self) -> IntArray:
        """int64 [bodies]: the moving object each body is, 0 for what stands still."""
        return np.array([body.instance for body in self.bodies], np.int64)

    def shot_at(self, t: int) -> int:
        """The shot frame t is part of."""
        return int(np.searchsorted(self.starts, t, side="right")) - 1

    def bodies_at(self, t: int) -> list[tuple[int, Body]]:
        """(index, body) of all that is there at frame t."""
        shot = self.shot_at(t)
        return [(index, body) for index, body in enumerate(self.bodies) if body.shot == shot]

    def frame(self, t: int) -> np.ndarray:
        """Frame t: uint8 [H, W, 3].

        Raises:
            InputError: no such frame.
        """
        self.check_frame(t)
        return raycast.render_frame(self, t)

    def depth(self, t: int) -> FloatArray:
        """Depth z of frame t at the pixel centres: float32 [H, W].

        Raises:
            InputError: no such frame.
        """
        self.check_frame(t)
        return raycast.render_maps(self, t)[0]

    def surfaces(self, t: int) -> np.ndarray:
        """Body seen at each pixel centre of frame t, things that stand still told apart: uint8 [H, W].

        Raises:
            InputError: no such frame.
        """
        self.check_frame(t)
        return raycast.render_maps(self, t)[1].astype(np.uint8)

    def mask(self, t: int) -> np.ndarray:
        """Moving object seen at each pixel centre of frame t: uint8 [H, W], 0 what stands still.

        Raises:
            InputError: no such frame.
        """
        return self.instances[self.surfaces(t)].astype(np.uint8)

    def dynamic(self, t: int) -> BoolArray:
        """Whether each pixel centre of frame t shows a moving object: bool [H, W].

        Raises:
            InputError: no such frame.
        """
        return self.mask(t) > 0

    @cached_property
    def depths(self) -> FloatArray:
        """All depth maps, float32 [T, H, W]; rendered once, then kept."""
        return np.stack([self.depth(t) for t in range(len(self))])

    def project(self, points: FloatArray, t: int) -> tuple[FloatArray, FloatArray]:
        """World points [N, 3] in frame t: float64 [N, 2] pixels, [N] depth z (0 or less: behind the camera)."""
        pose = self.poses[t]
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        size = np.array([self.info.width, self.info.height])
        xy: FloatArray = self.focal * local[:, :2] / np.maximum(local[:, 2:], scene_truth.NEAR) + size / 2
        return xy, local[:, 2]

    def unproject(self, xy: FloatArray, depth: FloatArray, t: int) -> FloatArray:
        """World points float64 [N, 3] at pixels [N, 2] and depths z [N] of frame t."""
        size = np.array([self.info.width, self.info.height])
        rays = np.concatenate([(np.asarray(xy, np.float64) - size / 2) / self.focal, np.ones((len(xy), 1))], 1)
        points: FloatArray = rays * np.asarray(depth)[:, None] @ self.poses[t, :3, :3].T + self.poses[t, :3, 3]
        return points

    def lift(self, xy: FloatArray, t: IntArray) -> tuple[IntArray, FloatArray]:
        """Body seen at points [N, 2] of frames [N], and its own coordinates there: int64 [N], float64 [N, 3]."""
        return scene_truth.lift(self, xy, t)

    def owner(self, xy: FloatArray, t: IntArray) -> tuple[IntArray, FloatArray]:
        """Moving object seen at points [N, 2] of frames [N] (0: what stands still), and where on it: see `lift`."""
        bodies, points = self.lift(xy, t)
        return self.instances[bodies], points

    def follow(self, bodies: IntArray, points: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Points of bodies, as `lift` gives them, over the whole video.

        Args:
            bodies: [N].
            points: [N, 3], the bodies' own coordinates.

        Returns:
            float64 [N, T, 2] pixels, float64 [N, T] depth z, bool [N, T] whether each can be seen (nothing nearer on
            its ray by more than `scene_truth.TOLERANCE` of the depth).
        """
        frames = np.arange(len(self))
        return scene_truth.follow(self, np.asarray(bodies, np.int64), np.asarray(points, np.float64), frames)

    def track(self, queries: Queries) -> Tracks:
        """The true tracks of any pixels: visibility 0 or 1, instance the moving object there (0: what stands still).

        Raises:
            InputError: a query outside the video.
        """
        return scene_truth.track(self, queries)

    def sample(
        self,
        n: int,
        seed: int = 0,
        t: int | None = None,
        ids: Sequence[int] | None = None,
        edge_share: float = 0.2,
        object_share: float = 0.3,
    ) -> Tracks:
        """True tracks of n random visible points.

        Args:
            n: how many.
            seed: other seeds, other points.
            t: their query frame; None: uniform over the video.
            ids: only points of these moving objects (0 is what stands still).
            edge_share: share of points close to the outline of a moving object, 0 to 1.
            object_share: share of points on moving objects, 0 to 1.

        Raises:
            InputError: n or seed below 0, a share outside [0, 1], no such frame or object, or `ids` that are nowhere
                seen.
        """
        chosen = truth.check_sample(n, seed, ids, edge_share, object_share, int(self.instances.max()))
        return self.track(truth.sample_queries(self, n, seed, t, chosen, edge_share, object_share))

    def flow(self, t0: int, t1: int) -> tuple[FloatArray, BoolArray]:
        """Optical flow from frame t0 to t1: float32 [H, W, 2], and bool [H, W] whether the point is seen in t1.

        Across a cut nothing is seen again, and the flow leads to where the point was at its own shot's end.

        Raises:
            InputError: no such frame.
        """
        return scene_truth.flow(self, t0, t1)
