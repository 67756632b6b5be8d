"""`World`: a procedural video of layers, its frames and its ground truth."""

from __future__ import annotations

import numpy as np

from trackime.arrays import BoolArray, FloatArray, IntArray, UInt8
from trackime.worlds._video import ProceduralVideo
from trackime.worlds.layers import _render, _truth
from trackime.worlds.layers._layer import LayerStack


class World(LayerStack, ProceduralVideo):
    """A procedural video whose every point is known at every frame. Made by `make_world`.

    Frames are rendered on demand; a frame depends on nothing but its number, so `frame`, `mask` and `render` work on
    videos of any length in flat memory.
    """

    _EDGE_SHARE = 0.5
    _OBJECT_SHARE = 0.7

    def frame(self, t: int) -> UInt8:
        self.check_frame(t)
        return _render.render_frame(self, t)

    def mask(self, t: int) -> UInt8:
        self.check_frame(t)
        return _render.render_mask(self, t)

    def positions(self, ids: IntArray, uv: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Points of layers over the whole video.

        Args:
            ids: [N], 0 the background.
            uv: [N, 2], the layers' own coordinates: an object spans the disc of radius 1, the background is in pixels
                of the frame at rest.

        Returns:
            float64 [N, T, 2] frame pixels, bool [N, T] whether each is visible. (A point off its own object's
            silhouette is followed all the same.)
        """
        return self._follow(np.asarray(ids), np.asarray(uv, np.float64), np.arange(len(self)))

    def _locate(self, xy: FloatArray, t: IntArray) -> tuple[IntArray, FloatArray]:
        return _truth.find_layer(self, xy, t)

    def _follow(self, surfaces: IntArray, points: FloatArray, frames: IntArray) -> tuple[FloatArray, BoolArray]:
        return _truth.follow(self, surfaces, points, frames)

    @property
    def _largest_id(self) -> int:
        return len(self.layers) - 1
