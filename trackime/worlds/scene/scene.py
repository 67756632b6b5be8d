"""`Scene`: a ray-cast 3D video, its frames, depth, and ground truth."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from trackime.arrays import BoolArray, Float32, FloatArray, IntArray, UInt8
from trackime.worlds._video import ProceduralVideo
from trackime.worlds.scene import _raycast, _truth
from trackime.worlds.scene._bodies import BodyScene


class Scene(BodyScene, ProceduralVideo):
    """A ray-cast room with bodies in it and a moving pinhole camera. Made by `make_scene`.

    Frames are rendered on demand; a frame depends on nothing but its number, so `frame`, `depth`, `mask` and `render`
    work on videos of any length in flat memory. Axes are OpenCV's (x right, y down, z forward), the world is the first
    camera (of each shot), depth is z, the centre of the top-left pixel is (0.5, 0.5). Objects are the moving bodies;
    static ones are background (0).
    """

    _EDGE_SHARE = 0.2
    _OBJECT_SHARE = 0.3

    def frame(self, t: int) -> UInt8:
        self.check_frame(t)
        return _raycast.render_frame(self, t)

    def depth(self, t: int) -> Float32:
        """Depth z of frame t at the pixel centres: float32 [H, W].

        Raises:
            InputError: no such frame.
        """
        self.check_frame(t)
        return _raycast.render_maps(self, t)[0]

    def surfaces(self, t: int) -> UInt8:
        """Index of the body visible at each pixel centre of frame t, static ones included: uint8 [H, W].

        Raises:
            InputError: no such frame.
        """
        self.check_frame(t)
        return _raycast.render_maps(self, t)[1].astype(np.uint8)

    def mask(self, t: int) -> UInt8:
        return self.instances[self.surfaces(t)].astype(np.uint8)

    def dynamic(self, t: int) -> BoolArray:
        """Whether each pixel centre of frame t shows a moving object: bool [H, W].

        Raises:
            InputError: no such frame.
        """
        return self.mask(t) > 0

    @cached_property
    def depths(self) -> Float32:
        """All depth maps, float32 [T, H, W]; rendered once, then kept."""
        return np.stack([self.depth(t) for t in range(len(self))])

    def lift(self, xy: FloatArray, t: IntArray) -> tuple[IntArray, FloatArray]:
        """Body visible at points [N, 2] of frames [N], and its own coordinates there: int64 [N], float64 [N, 3]."""
        return _truth.lift(self, xy, t)

    def follow(self, bodies: IntArray, points: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Points of bodies, as `lift` gives them, over the whole video.

        Args:
            bodies: [N].
            points: [N, 3], the bodies' own coordinates.

        Returns:
            float64 [N, T, 2] pixels, float64 [N, T] depth z, bool [N, T] whether each is visible (nothing nearer on its
            ray by more than 1e-5 of the depth).
        """
        frames = np.arange(len(self))
        return _truth.follow(self, np.asarray(bodies, np.int64), np.asarray(points, np.float64), frames)

    def _locate(self, xy: FloatArray, t: IntArray) -> tuple[IntArray, FloatArray]:
        return self.lift(xy, t)

    def _follow(self, surfaces: IntArray, points: FloatArray, frames: IntArray) -> tuple[FloatArray, BoolArray]:
        xy, _, visible = _truth.follow(self, surfaces, points, frames)
        return xy, visible

    def _objects(self, surfaces: IntArray) -> IntArray:
        return self.instances[surfaces]

    @property
    def _largest_id(self) -> int:
        return int(self.instances.max())
