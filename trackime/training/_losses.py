"""Losses of the embedded tracker.

Positions by a Huber loss whose weight grows from one iteration to the next (as in RAFT, Teed and Deng, ECCV 2020),
visibility and expected error by cross-entropy (as in TAPIR, Doersch et al., ICCV 2023), the search of whole frames by
cross-entropy over their cells, and objectness: an L1 distance for points that fall into another object's mask than the
truth ("Leveraging Object Priors for Point Tracking", arXiv 2409.05786).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.trackers.networks import STRIDE as COST_STRIDE
from trackime.trackers.networks import STRIDES, TrackimeSEstimate, WindowResult


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses.

    Attributes:
        position: of the Huber loss.
        fine: of the logarithm of the distance, which small errors dominate.
        delta_px: pixels from which the Huber loss is linear.
        hidden: weight of a hidden position relative to a visible one.
        decay: weight of an iteration's losses relative to the next one's.
        visibility: of its cross-entropy.
        error: of the expected error's cross-entropy.
        error_px: positions with a larger error in pixels are wrong.
        search: of the cost map's cross-entropy.
        match: of the cross-entropy of each level's correlations.
        sharpness: factor of correlations, as logits.
        objectness: of the objectness loss; 0: none.
    """

    position: float = 0.01
    fine: float = 0.6
    delta_px: float = 4.0
    hidden: float = 0.2
    decay: float = 0.8
    visibility: float = 1.0
    error: float = 1.0
    error_px: float = 6.0
    search: float = 0.2
    match: float = 0.15
    sharpness: float = 15.0
    objectness: float = 0.0


@dataclass(frozen=True)
class ClipTruth:
    """Ground truth of B x N points in T frames.

    Attributes:
        xy: [B, N, T, 2] pixels.
        visible: bool [B, N, T].
        scored: bool [B, N, T]: cells that are scored; not the query's own frame.
        object: int64 [B, N], 0 for the background.
        masks: integer [B, T, H, W], 0 for the background.
    """

    xy: Tensor
    visible: Tensor
    scored: Tensor
    object: Tensor
    masks: Tensor


def mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean; 0 where nothing has weight."""
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


def huber(xy: Tensor, truth: ClipTruth, config: LossConfig) -> Tensor:
    """Huber's function of the distance in pixels, averaged over visible frames and (less) hidden ones.

    Hidden points further out of the frame than half its size do not count: nothing tells where they are.

    Args:
        xy: [B, N, T, 2] predicted.
    """
    squared = (xy - truth.xy).square().sum(-1)
    # The root's slope at zero is infinite; below delta the quadratic branch is used.
    distance = squared.clamp(min=1e-12).sqrt()
    delta = config.delta_px
    values = torch.where(distance < delta, 0.5 * squared, delta * (distance - 0.5 * delta))
    size = truth.xy.new_tensor([truth.masks.shape[-1], truth.masks.shape[-2]])
    near = ((truth.xy > -0.5 * size) & (truth.xy < 1.5 * size)).all(-1)
    weight = torch.where(truth.visible, 1.0, config.hidden) * (truth.scored & near)
    return mean(torch.where(near, values, 0.0), weight)


def fine_loss(xy: Tensor, truth: ClipTruth) -> Tensor:
    """log(1 + d) of the distance d in pixels, averaged over visible frames.

    Lost points dominate a Huber loss; this loss lets points that are nearly right improve by a pixel.

    Args:
        xy: [B, N, T, 2] predicted.
    """
    distance = (xy - truth.xy).square().sum(-1).clamp(min=1e-6).sqrt()
    return mean(torch.log1p(distance), (truth.scored & truth.visible).to(xy.dtype))


def visibility_loss(logits: Tensor, truth: ClipTruth) -> Tensor:
    """Cross-entropy of visibility [B, N, T]."""
    values = F.binary_cross_entropy_with_logits(logits, truth.visible.to(logits.dtype), reduction="none")
    return mean(values, truth.scored.to(logits.dtype))


def error_loss(logits: Tensor, xy: Tensor, truth: ClipTruth, config: LossConfig) -> Tensor:
    """Cross-entropy of "the position is wrong" [B, N, T] on visible frames. Its target has no gradient."""
    wrong = ((xy.detach() - truth.xy).square().sum(-1) > config.error_px**2).to(logits.dtype)
    values = F.binary_cross_entropy_with_logits(logits, wrong, reduction="none")
    return mean(values, (truth.scored & truth.visible).to(logits.dtype))


def search_loss(maps: Tensor, stride: int, truth: ClipTruth) -> Tensor:
    """Cross-entropy of the true cells over whole frames, where the point is visible.

    The target is shared by the four cells around the true place as bilinear sampling shares it.

    Args:
        maps: [B, N, T, h, w] logits, cells `stride` pixels wide.
    """
    h, w = maps.shape[-2:]
    limit = truth.xy.new_tensor([w - 1, h - 1])
    place = (truth.xy / stride - 0.5).clamp(min=0).minimum(limit)
    corner = place.floor()
    fraction = place - corner
    x, y = corner.long().unbind(-1)
    right, below = (x + 1).clamp(max=w - 1), (y + 1).clamp(max=h - 1)
    fx, fy = fraction.unbind(-1)
    flat = maps.flatten(-2)
    index = torch.stack([y * w + x, y * w + right, below * w + x, below * w + right], -1)
    share = torch.stack([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx], -1)
    values = flat.logsumexp(-1) - (flat.gather(-1, index) * share).sum(-1)
    return mean(values, (truth.scored & truth.visible).to(values.dtype))


def objectness(xy: Tensor, truth: ClipTruth) -> Tensor:
    """L1 distance in pixels of visible points that fall into another object's mask than the truth's.

    Outside of the frame there is no mask to fall into: the nearest pixel's is taken.

    Args:
        xy: [B, N, T, 2] predicted.
    """
    b, _, t, _ = xy.shape
    h, w = truth.masks.shape[-2:]
    x, y = xy.detach()[..., 0].floor().long().clamp(0, w - 1), xy.detach()[..., 1].floor().long().clamp(0, h - 1)
    clip = torch.arange(b, device=xy.device)[:, None, None]
    frame = torch.arange(t, device=xy.device)
    there = truth.masks[clip, frame, y, x].long()  # [B, N, T]
    astray = there != truth.object[..., None]
    values = (xy - truth.xy).abs().sum(-1) * astray
    return mean(values, (truth.scored & truth.visible).to(xy.dtype))


def iteration_losses(estimate: TrackimeSEstimate, truth: ClipTruth, config: LossConfig) -> dict[str, Tensor]:
    """The weighted losses of one estimate."""
    losses = {
        "position": config.position * huber(estimate.xy, truth, config),
        "visibility": config.visibility * visibility_loss(estimate.visibility, truth),
        "error": config.error * error_loss(estimate.error, estimate.xy, truth, config),
    }
    if config.fine:
        losses["fine"] = config.fine * fine_loss(estimate.xy, truth)
    if config.objectness:
        losses["objectness"] = config.position * config.objectness * objectness(estimate.xy, truth)
    return losses


def window_losses(result: WindowResult, truth: ClipTruth, config: LossConfig) -> dict[str, Tensor]:
    """The weighted losses of a window by name; iterations by decay, their weights summing to 1.

    Args:
        truth: of the window's frames.
    """
    count = len(result.estimates)
    weights = [config.decay ** (count - 1 - i) for i in range(count)]
    total: dict[str, Tensor] = {}
    for weight, estimate in zip(weights, result.estimates, strict=True):
        for name, value in iteration_losses(estimate, truth, config).items():
            total[name] = total.get(name, 0) + value * (weight / sum(weights))
    shape = truth.visible.shape
    if config.search:
        maps = result.start.logits.view(*shape, *result.start.logits.shape[-2:])
        total["search"] = config.search * search_loss(maps, COST_STRIDE, truth)
    if config.match:
        parts = [
            search_loss(volume * config.sharpness, stride, truth)
            for volume, stride in zip(result.volumes, STRIDES, strict=True)
        ]
        total["match"] = config.match * torch.stack(parts).sum()
    return total
