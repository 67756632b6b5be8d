"""One step of training: track the points of a batch in one window or in two, and compute the losses."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from trackime.metrics import THRESHOLDS
from trackime.trackers.networks import QueriedPoints, TrackimeS, TrackimeSEstimate
from trackime.training._losses import ClipTruth, LossConfig, window_losses
from trackime.training.data import Clips


def forward(
    network: TrackimeS, clips: Clips, losses: LossConfig, chained: bool = False
) -> tuple[dict[str, Tensor], float]:
    """The losses of a batch by name, and the share of visible points within the thresholds, averaged over these.

    Args:
        clips: on the network's device, frames as float.
        chained: two windows, the second of which begins where the first found its points.
    """
    b, t = clips.frames.shape[:2]
    flat = network.encode(clips.frames.flatten(0, 1))
    number = torch.arange(b, device=clips.xy.device)[:, None] * t + clips.query_frame
    with torch.autocast(clips.xy.device.type, enabled=False):
        descriptors = network.describe(flat, number, clips.query_xy)
    maps = [level.unflatten(0, (b, t)) for level in flat]
    truth = clips.truth()
    if not chained:
        result = network(maps, QueriedPoints(clips.query_xy, clips.query_frame, descriptors))
        return window_losses(result, truth, losses), within(result.estimates[-1].xy, truth)
    first, second = (0, t - t // 3), (t // 3, t)
    total: dict[str, Tensor] = {}
    before: TrackimeSEstimate | None = None
    shares = []
    for t0, t1 in (first, second):
        points = QueriedPoints(clips.query_xy, clips.query_frame - t0, descriptors)
        begun = clips.query_frame < t1
        part = _cut(truth, t0, t1, begun)
        result = network([level[:, t0:t1] for level in maps], points, before)
        for name, value in window_losses(result, part, losses).items():
            total[name] = total.get(name, 0) + value / 2
        last = result.estimates[-1]
        shares.append(within(last.xy, part))
        shared = slice(t // 3, first[1])
        known = torch.where(begun[..., None, None], last.xy.detach()[:, :, shared], torch.nan)
        before = TrackimeSEstimate(known, last.visibility.detach()[:, :, shared], last.error.detach()[:, :, shared])
    return total, sum(shares) / 2


def _cut(truth: ClipTruth, t0: int, t1: int, counted: Tensor) -> ClipTruth:
    """Frames t0 .. t1 - 1 of the truth, scored for some points [B, N]."""
    span = slice(t0, t1)
    return replace(
        truth,
        xy=truth.xy[:, :, span],
        visible=truth.visible[:, :, span],
        scored=truth.scored[:, :, span] & counted[..., None],
        masks=truth.masks[:, span],
    )


@torch.no_grad()
def within(xy: Tensor, truth: ClipTruth) -> float:
    """Share of visible scored points within TAP-Vid's thresholds, in pixels of the frames, averaged over these."""
    counted = truth.visible & truth.scored
    distance = (xy - truth.xy).norm(dim=-1)[counted]
    if not len(distance):
        return float("nan")
    return sum(float((distance < limit).float().mean()) for limit in THRESHOLDS) / len(THRESHOLDS)
