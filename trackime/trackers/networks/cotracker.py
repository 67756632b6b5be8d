"""CoTracker3: points refined jointly over a temporal window.

Karaev et al., "CoTracker3: Simpler and Better Point Tracking by Pseudo-Labelling Real Videos", arXiv 2410.11831,
section 3.2. Each point has in every frame a position, a visibility and a confidence; a refinement compares the 7 x 7
features around that position with the 7 x 7 around the query, on four scales (4D correlation), and a transformer
over all points and frames turns this into updates. The offline and online networks differ only in the length of
their temporal window.

Positions in here are (x, y) in pixels of the frames encoded, the centre of the top-left pixel at (0, 0). Parameters
bear the names of the published checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackime.trackers.networks._basicencoder import BasicEncoder
from trackime.trackers.networks._cotracker_former import Mlp, SpaceTimeFormer
from trackime.trackers.networks._lookup import SIDE, around, blend
from trackime.trackers.networks._motion import MOTION, encode_motion

STRIDE = 4
"""Pixels per cell of the features."""
_CHANNELS = 128
"""Channels of the features."""
LEVELS = 4
"""Scales of the correlation."""
_MOTION_UNIT = (512 / STRIDE, 384 / STRIDE)
"""Cells (x, y) of the training resolution: motions are divided by them, whatever the frames' size."""
_EMBEDDED = 256
"""Channels of one scale's embedded correlation."""
_TOKEN = 2 + LEVELS * _EMBEDDED + MOTION
"""Channels of a token: visibility, confidence, correlations, motions."""
PAIRS = 2048
"""Points x frames whose correlations are in memory at once (each 64 x 128 floats of features)."""


class CoTrackerEstimate(NamedTuple):
    """The estimate of N points in T frames."""

    xy: Tensor  # [B, N, T, 2] pixels, integer centres
    visibility: Tensor  # [B, N, T] logits
    confidence: Tensor  # [B, N, T] logits: of being within 12 px of the truth

    def cut(self, t0: int, t1: int) -> CoTrackerEstimate:
        """Frames t0 .. t1 - 1."""
        return CoTrackerEstimate(*(part[:, :, t0:t1] for part in self))


class FeatureLevel(NamedTuple):
    """One scale of the features of B clips, as rows to gather."""

    rows: Tensor  # [B * T * h * w, 128]
    shape: tuple[int, int, int, int]  # B, T, h, w


class CoTracker3(nn.Module):
    """The network; `window` is the number of frames its time embedding was made for (60 offline, 16 online)."""

    time_emb: Tensor

    def __init__(self, window: int) -> None:
        super().__init__()
        self.fnet = BasicEncoder(_CHANNELS, STRIDE)
        self.updateformer = SpaceTimeFormer(_TOKEN)
        self.corr_mlp = Mlp(SIDE**4, 384, _EMBEDDED)
        self.register_buffer("time_emb", _time_embedding(window))

    def encode(self, frames: Tensor) -> list[Tensor]:
        """Frames [B, 3, h, w] in 0..1, h and w multiples of 4 of at least 32, to the scales of their features.

        Each [B, h / 4 / 2**i, w / 4 / 2**i, 128]; unit vectors on the finest scale, averages of these on the others.
        """
        fine = F.normalize(self.fnet(2 * frames - 1), dim=1, eps=1e-6)
        levels = [fine]
        for _ in range(LEVELS - 1):
            levels.append(F.avg_pool2d(levels[-1], 2))
        return [level.permute(0, 2, 3, 1).contiguous() for level in levels]

    def support(self, levels: Sequence[FeatureLevel], xy: Tensor, t: Tensor) -> list[Tensor]:
        """Features around the queries: the templates of the search.

        Args:
            levels: the scales of the frames.
            xy: [B, N, 2] pixels.
            t: int [B, N] frame of each.

        Returns:
            Per scale: [B, N, 49, 128].
        """
        found = []
        for i, level in enumerate(levels):
            cells = xy[:, :, None] / (STRIDE * 2**i)  # [B, N, 1, 2]
            patch = blend(*_pick(level, cells, t[..., None]))  # [B, N, 1, 7, 7, 128]
            found.append(patch[:, :, 0].flatten(2, 3))
        return found

    def correlate(self, levels: Sequence[FeatureLevel], support: Sequence[Tensor], xy: Tensor, t: Tensor) -> Tensor:
        """Embedded 4D correlations [B, N, T, 4 * 256] of the surroundings of xy with the support.

        Args:
            levels: the scales of the frames.
            support: of `support`.
            xy: [B, N, T, 2] pixels.
            t: int [T] which frame of `levels` each of the T is.
        """
        count, length = xy.shape[1:3]
        size = max(1, PAIRS // length)
        parts = []
        for first in range(0, count, size):
            part = slice(first, min(count, first + size))
            scales = [
                self.corr_mlp(correlation(level, around[:, part], xy[:, part] / (STRIDE * 2**i), t))
                for i, (level, around) in enumerate(zip(levels, support, strict=True))
            ]
            parts.append(torch.cat(scales, -1))
        return torch.cat(parts, 1)

    def tokens(self, correlations: Tensor, now: CoTrackerEstimate, time: Tensor) -> Tensor:
        """The transformer's input for each point and frame: [B, N, T, 1110]; `time` of `time_embedding`."""
        unit = now.xy.new_tensor(_MOTION_UNIT) * STRIDE
        parts = [now.visibility[..., None], now.confidence[..., None], correlations, encode_motion(now.xy, unit)]
        return torch.cat(parts, -1) + time

    def refine(
        self, levels: Sequence[FeatureLevel], support: Sequence[Tensor], now: CoTrackerEstimate, t: Tensor, time: Tensor
    ) -> CoTrackerEstimate:
        """One refinement of an estimate of N points over T frames; all N attend to each other.

        Args:
            levels: the scales of the frames.
            support: of the queries, zeros for those not seen yet.
            now: the estimate so far.
            t: int [T] which frame of `levels` each of the T is.
            time: [T, 1110] of `time_embedding`.
        """
        update = self.updateformer(self.tokens(self.correlate(levels, support, now.xy, t), now, time))
        return CoTrackerEstimate(
            now.xy + STRIDE * update[..., :2], now.visibility + update[..., 2], now.confidence + update[..., 3]
        )

    def time_embedding(self, length: int) -> Tensor:
        """[length, 1110]: that of the trained temporal window, interpolated to another length."""
        if length == self.time_emb.shape[1]:
            return self.time_emb[0]
        return F.interpolate(self.time_emb.transpose(1, 2), length, mode="linear", align_corners=False)[0].T


def as_level(features: Tensor) -> FeatureLevel:
    """Features [B, T, h, w, 128] laid out as rows to gather; copies only what is not contiguous."""
    b, t, h, w, _ = features.shape
    return FeatureLevel(features.reshape(-1, features.shape[-1]), (b, t, h, w))


def correlation(level: FeatureLevel, support: Tensor, cells: Tensor, t: Tensor) -> Tensor:
    """Correlations of every cell around a position with every cell around the query, flat.

    The 7 x 7 cells around a position share one fraction of a cell, so whole cells (8 x 8) are compared and the results
    blended: bilinear sampling is linear, and the results are far fewer than the features.

    Args:
        level: one scale of the frames.
        support: [B, N, 49, 128].
        cells: [B, N, T, 2] (x, y) in cells of the level.
        t: int [T] which frame of the level each of the T is.

    Returns:
        [B, N, T, 49 * 49]: cell in the frame, then cell around the query, each with x as the slower index.
    """
    picked, fraction = _pick(level, cells, t)  # [B, N, T, 8, 8, 128]
    whole = picked.flatten(2, 4) @ support.transpose(-1, -2)  # [B, N, T * 64, 49]
    return blend(whole.view(*picked.shape[:-1], SIDE**2), fraction).flatten(3)


def _pick(level: FeatureLevel, cells: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The 8 x 8 whole cells around positions, those outside repeating the border.

    Args:
        level: one scale of B clips.
        cells: [B, N, K, 2] (x, y) in cells.
        t: int, broadcasts to [B, N, K]: frames.

    Returns:
        [B, N, K, 8, 8, 128], x as the first of the two, and the fraction [B, N, K, 2] for `blend`, in the same order.
    """
    b, length, h, w = level.shape
    clip = torch.arange(b, device=cells.device)[:, None, None] * length + t  # [B, N or 1, K]
    near = around(cells, clip, (h, w))
    return F.embedding(near.rows.mT, level.rows), near.fraction.flip(-1)


def _time_embedding(length: int) -> Tensor:
    """Sines then cosines of the frame's number at 555 frequencies from 1 down to 1e-4: [1, length, 1110]."""
    half = _TOKEN // 2
    rate = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1).float()[None]
