"""The world itself: what it is made of, its frames, and its ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trackime.arrays import BoolArray, FloatArray, IntArray
from trackime.types import Queries, Tracks, VideoInfo
from trackime.worlds._frames import Rendered
from trackime.worlds.layers import render, truth
from trackime.worlds.layers._layer import Layer
from trackime.worlds.layers.options import WorldOptions


@dataclass(frozen=True, eq=False)
class World(Rendered):
    """A procedural video whose every point is known at every frame. Made by `make_world`.

    Nothing is rendered until it is asked for; a frame depends on nothing but its number, so `frame`, `mask` and
    `render` work on videos of any length in flat memory.

    Attributes:
        info: size and times.
        seed: what it was made from.
        options: what it was made with.
        layers: the background (0) and the objects (their id is their index).
        rank: int [T, K + 1], nearness of each layer at each frame: higher covers lower; the background is 0.
        exposure: float64 [T], brightness of the whole frame.
        device: where frames are rendered.
    """

    info: VideoInfo
    seed: int
    options: WorldOptions
    layers: tuple[Layer, ...]
    rank: IntArray
    exposure: FloatArray
    device: torch.device

    def frame(self, t: int) -> np.ndarray:
        """Frame t: uint8 [H, W, 3].

        Raises:
            InputError: no such frame.
        """
        self.check_frame(t)
        return render.render_frame(self, t)

    def mask(self, t: int) -> np.ndarray:
        """Object seen at each pixel centre of frame t: uint8 [H, W], 0 the background.

        Raises:
            InputError: no such frame.
        """
        self.check_frame(t)
        return render.render_mask(self, t)

    def track(self, queries: Queries) -> Tracks:
        """The true tracks of any pixels: visibility 0 or 1, instance the object seen there (0 the background).

        Raises:
            InputError: a query outside the video.
        """
        return truth.track(self, queries)

    def sample(
        self,
        n: int,
        seed: int = 0,
        t: int | None = None,
        ids: Sequence[int] | None = None,
        edge_share: float = 0.5,
        object_share: float = 0.7,
    ) -> Tracks:
        """True tracks of n random visible points.

        Args:
            n: how many.
            seed: other seeds, other points.
            t: their query frame; None: uniform over the video.
            ids: only points of these objects (0 is the background).
            edge_share: share of points close to an edge between objects, 0 to 1.
            object_share: share of points on objects rather than the background, 0 to 1.

        Raises:
            InputError: n or seed below 0, a share outside [0, 1], no such frame or object, or `ids` that are nowhere
                seen.
        """
        chosen = truth.check_sample(n, seed, ids, edge_share, object_share, len(self.layers) - 1)
        return self.track(truth.sample_queries(self, n, seed, t, chosen, edge_share, object_share))

    def positions(self, ids: IntArray, uv: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Points of layers over the whole video.

        Args:
            ids: [N], 0 the background.
            uv: [N, 2], the layers' own coordinates: an object spans the disc of radius 1, the background is in pixels
                of the frame at rest.

        Returns:
            float64 [N, T, 2] frame pixels, bool [N, T] whether each can be seen. (A point off its own object's
            silhouette is followed all the same.)
        """
        return truth.follow(self, np.asarray(ids), np.asarray(uv, np.float64), np.arange(len(self)))

    def owner(self, xy: FloatArray, t: IntArray) -> tuple[IntArray, FloatArray]:
        """Layer seen at points [N, 2] of frames [N], and its own coordinates there: int64 [N], float64 [N, 2]."""
        return truth.find_owner(self, xy, np.asarray(t, np.int64))

    def flow(self, t0: int, t1: int) -> tuple[FloatArray, BoolArray]:
        """Optical flow from frame t0 to t1: float32 [H, W, 2], and bool [H, W] whether the point is seen in t1.

        Raises:
            InputError: no such frame.
        """
        return truth.flow(self, t0, t1)
