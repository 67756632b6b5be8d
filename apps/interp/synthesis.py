"""The last step of a new frame: splat its two neighbours along their motion (`FlowEstimator`) and blend them.

A pixel of either frame is moved along its motion, with a weight that grows with its photometric consistency, its
visibility in the other frame and its nearness (softmax splatting: Niklaus and Liu, CVPR 2020, whose metric is the
photometric consistency alone). Numerators and denominators of both frames are blended before dividing, so that where
only one frame contributes, it alone counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.arrays import Float32
from trackime.geometry import sample
from trackime.video import Video

from ._splat import splat_sums
from .motion import FrameMotion, MotionSource

_UNLIKE = 40.0
"""Metric subtracted per difference of 1 in colour."""
_NEAR = 4.0
"""Metric added for the nearest layer."""
_LIMIT = 20.0
"""Largest absolute value of the metric: exp must not overflow."""
_FALLBACK_WEIGHT = 1e-3
"""Weight of the fallback for holes: that of a pixel that is occluded in the other frame."""
_COARSE = 8
"""Pixels between the nodes of slowly varying fields: brightness, motion around holes."""
_TILE = 1 << 22
"""Pixels splatted at once: larger frames are splatted in strips, which bounds memory beside the frames."""


@dataclass(frozen=True, eq=False)
class _SourceFrame:
    """One of the two frames that are splatted.

    Attributes:
        image: [1, C, H, W].
        motion: of its pixels, on the device.
        metric: [1, 1, H, W], the log of the weight.
        change: [1, C, H, W], slow change of its colours on the way to the other frame.
    """

    image: Tensor
    motion: FrameMotion
    metric: Tensor
    change: Tensor


class Synthesis:
    """Frames between frames by splatting along a motion. A `FrameInterpolator`.

    Args:
        video: the frames.
        source: their motion.
        device: where frames are made.
    """

    def __init__(self, video: Video, source: MotionSource, device: str | torch.device = "cpu") -> None:
        self._video, self._source, self._device = video, source, torch.device(device)
        self._frames: OrderedDict[int, Tensor] = OrderedDict()

    def __call__(self, i: int, j: int, taus: Sequence[float]) -> Iterator[Float32]:
        """See `FrameInterpolator`."""
        motion = self._source.between(i, j)
        a, b = self._frame(i), self._frame(j)
        first = _source_frame(a, b, motion.forward.to(self._device))
        second = _source_frame(b, a, motion.backward.to(self._device))
        for tau in taus:
            yield _finished(_blend(first, second, tau))

    def _frame(self, t: int) -> Tensor:
        """Frame t [1, C, H, W]; with alpha, colours are premultiplied: transparent pixels contribute no colour."""
        if t not in self._frames:
            pixels = self._video.pixels(t, t + 1)[0]
            frame = torch.from_numpy(pixels.astype(np.float32)).to(self._device) / float(np.iinfo(pixels.dtype).max)
            if frame.shape[2] == 4:
                frame[..., :3] *= frame[..., 3:]
            self._frames[t] = frame.permute(2, 0, 1)[None].contiguous()
        self._frames.move_to_end(t)
        while len(self._frames) > 2:
            self._frames.popitem(last=False)
        return self._frames[t]


def _finished(frame: Tensor) -> Float32:
    out = frame[0].permute(1, 2, 0)
    if out.shape[2] == 4:
        alpha = out[..., 3:]
        out = torch.cat([out[..., :3] / alpha.clamp(min=1e-6), alpha], 2)
    return np.asarray(out.clamp(0, 1).cpu().numpy(), np.float32)


def _blend(first: _SourceFrame, second: _SourceFrame, tau: float) -> Tensor:
    """The frame [1, C, H, W] at `tau`."""
    height, width = first.image.shape[2:]
    rows = max(1, min(height, _TILE // width))
    moved = first.motion.displacement(tau)[None], second.motion.displacement(1 - tau)[None]
    numerators, denominators = [], []
    for top in range(0, height, rows):
        stop = min(height, top + rows)
        n, d = _strip(first, tau, moved[0], top, stop)
        m, e = _strip(second, 1 - tau, moved[1], top, stop)
        numerators.append((1 - tau) * n + tau * m)
        denominators.append((1 - tau) * d + tau * e)
    fallback = _fallback(first, second, moved, tau)
    total = torch.cat(numerators, 2) + _FALLBACK_WEIGHT * fallback
    return total / (torch.cat(denominators, 2) + _FALLBACK_WEIGHT)


def _strip(frame: _SourceFrame, s: float, flow: Tensor, top: int, stop: int) -> tuple[Tensor, Tensor]:
    """The sums that one frame contributes to rows top .. stop - 1, from those of its rows that reach them."""
    height = flow.shape[2]
    rows = slice(0, height)
    if stop - top < height:
        lands = flow[0, 1] + torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
        reach = ((lands > top - 1) & (lands < stop)).any(1).nonzero()
        if not len(reach):
            shape = (1, frame.image.shape[1], stop - top, flow.shape[3])
            return flow.new_zeros(shape), flow.new_zeros(1, 1, *shape[2:])
        # The strip's own rows are included: it is cut out of the result of all of them.
        rows = slice(min(top, int(reach.min())), max(stop, int(reach.max()) + 1))
    values = frame.image[:, :, rows] + s * frame.change[:, :, rows]
    n, d = splat_sums(values, flow[:, :, rows], "softmax", frame.metric[:, :, rows])
    cut = slice(top - rows.start, stop - rows.start)
    return n[:, :, cut], d[:, :, cut]


def _source_frame(image: Tensor, other: Tensor, motion: FrameMotion) -> _SourceFrame:
    warped = _warp_backward(other, motion.flow[None])
    visible = motion.visibility[None, None]
    change = _low_pass(warped - image, visible)
    off = (warped - image - change).abs().mean(1, keepdim=True)
    metric = (visible + 1e-3).log() - _UNLIKE * off
    if motion.order is not None:
        metric = metric + _NEAR * motion.order[None, None]
    return _SourceFrame(image, motion, metric.clamp(-_LIMIT, _LIMIT), change)


def _warp_backward(image: Tensor, flow: Tensor) -> Tensor:
    """`image` [1, C, H, W] at x + flow(x), flow [1, 2, H, W]; edges repeated."""
    height, width = flow.shape[2:]
    points = torch.stack(_targets(flow), -1).reshape(1, -1, 2)
    return sample(image, points).transpose(1, 2).reshape(1, -1, height, width)


def _targets(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of pixels after flow [1, 2, H, W]: x and y [1, H, W], centres at + 0.5."""
    height, width = flow.shape[2:]
    x = torch.arange(width, device=flow.device) + 0.5 + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + 0.5 + flow[:, 1]
    return x, y


def _low_pass(field: Tensor, weight: Tensor) -> Tensor:
    """The slowly varying part of a field [1, C, H, W], by weights [1, 1, H, W]: exposure and shading, no detail."""
    height, width = field.shape[2:]
    small = (-(-height // _COARSE), -(-width // _COARSE))
    mass = F.interpolate(weight, small, mode="area")
    total = F.interpolate(field * weight, small, mode="area")
    radius = max(1, round(0.05 * small[0]))
    for _ in range(2):  # twice a box: a tent
        total, mass = _box(total, 2 * radius + 1), _box(mass, 2 * radius + 1)
    return F.interpolate(total / (mass + 0.05), (height, width), mode="bilinear", align_corners=False)


def _box(field: Tensor, side: int) -> Tensor:
    """The mean [1, C, h, w] of `side` x `side` pixels, edges repeated."""
    from kornia.filters import box_blur

    return box_blur(field, (side, side), "replicate", separable=True)


def _fallback(first: _SourceFrame, second: _SourceFrame, moved: Sequence[Tensor], tau: float) -> Tensor:
    """For holes: both frames warped to the new one along the motion that surrounds the hole, where they reach."""
    back = -_at_new_frame(moved[0], first.metric), -_at_new_frame(moved[1], second.metric)
    a, b = (1 - tau) * (_inside(back[0]) + 1e-3), tau * (_inside(back[1]) + 1e-3)
    return (a * _warp_backward(first.image, back[0]) + b * _warp_backward(second.image, back[1])) / (a + b)


def _inside(flow: Tensor) -> Tensor:
    """1 where a pixel lands in the frame by flow [1, 2, H, W], 0 elsewhere: [1, 1, H, W]."""
    height, width = flow.shape[2:]
    x, y = _targets(flow)
    return ((x >= 0) & (x <= width) & (y >= 0) & (y <= height)).to(flow.dtype)[:, None]


def _at_new_frame(flow: Tensor, metric: Tensor) -> Tensor:
    """Displacements [1, 2, H, W] at the pixels of the new frame, smooth, holes filled from their surroundings."""
    height, width = flow.shape[2:]
    small = (-(-height // _COARSE), -(-width // _COARSE))
    scale = flow.new_tensor([small[1] / width, small[0] / height]).view(1, 2, 1, 1)
    coarse, weight = F.interpolate(flow, small, mode="area"), F.interpolate(metric, small, mode="area")
    n, d = splat_sums(coarse, coarse * scale, "softmax", weight)
    n, d = n.contiguous(), d.contiguous()
    filled_n, filled_d = n, d
    for _ in range(max(2, small[0] // 4)):
        n, d = _box(n, 3), _box(d, 3)
        hole = filled_d < 1e-3
        filled_n, filled_d = torch.where(hole, n, filled_n), torch.where(hole, d, filled_d)
        if not bool((filled_d < 1e-3).any()):
            break
    return F.interpolate(filled_n / (filled_d + 1e-9), (height, width), mode="bilinear", align_corners=False)
