"""A new frame from the two around it: both are splatted to its time and blended where they land.

A pixel of either side goes where its motion takes it, with a weight that says how surely it belongs there: it looks
alike in the other frame, it is seen in the other frame, it is in front (softmax splatting: Niklaus and Liu, CVPR 2020,
whose metric is the likeness alone). Numerators and denominators of both sides are blended before dividing, so that
where only one side is seen, it alone counts.
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
from .motion import Motion, MotionSource, Side

_UNLIKE = 40.0
"""What a difference of 1 in colour takes from the metric."""
_COVER = 4.0
"""What being in front adds to it."""
_LIMIT = 20.0
"""Largest metric, up and down: exp must not overflow."""
_FAINT = 1e-3
"""Weight of the fallback: as little as that of what is hidden in the other frame, a thousandth of the full one."""
_COARSE = 8
"""Pixels a node of slowly varying fields: brightness, motion around holes."""
_TILE = 1 << 22
"""Pixels splatted at once: of larger frames a strip at a time, so that memory beside the frames is bounded."""


@dataclass(frozen=True, eq=False)
class _End:
    """One of the two frames.

    Attributes:
        image: [1, C, H, W].
        side: its motion, on the device.
        metric: [1, 1, H, W].
        change: [1, C, H, W], how its colours change on the way to the other frame.
    """

    image: Tensor
    side: Side
    metric: Tensor
    change: Tensor


class Synthesis:
    """Frames between frames by splatting along a motion. See `Between`.

    Args:
        video: the frames.
        source: their motion.
        device: where frames are made.
    """

    def __init__(self, video: Video, source: MotionSource, device: str | torch.device = "cpu") -> None:
        self._video, self._source, self._device = video, source, torch.device(device)
        self._frames: OrderedDict[int, Tensor] = OrderedDict()

    def __call__(self, i: int, j: int, taus: Sequence[float]) -> Iterator[Float32]:
        """See `Between`."""
        motion = self._source.between(i, j)
        ends = self._ends(self._frame(i), self._frame(j), motion)
        for tau in taus:
            yield self._finished(_blend(*ends, tau))

    def _frame(self, t: int) -> Tensor:
        """Frame t [1, C, H, W]; with alpha, colours are multiplied by it: what cannot be seen lends no colour."""
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

    def _ends(self, a: Tensor, b: Tensor, motion: Motion) -> tuple[_End, _End]:
        first, second = _on(motion.forward, self._device), _on(motion.backward, self._device)
        return _end(a, b, first), _end(b, a, second)

    @staticmethod
    def _finished(frame: Tensor) -> Float32:
        out = frame[0].permute(1, 2, 0)
        if out.shape[2] == 4:
            alpha = out[..., 3:]
            out = torch.cat([out[..., :3] / alpha.clamp(min=1e-6), alpha], 2)
        return np.asarray(out.clamp(0, 1).cpu().numpy(), np.float32)


def _blend(first: _End, second: _End, tau: float) -> Tensor:
    """The frame [1, C, H, W] at `tau` between two ends."""
    height, width = first.image.shape[2:]
    rows = max(1, min(height, _TILE // width))
    parts = [(first, tau, 1 - tau), (second, 1 - tau, tau)]
    moved = [end.side.to(s)[None] for end, s, _ in parts]
    strips = []
    for top in range(0, height, rows):
        stop = min(height, top + rows)
        numerators: Tensor | float = 0.0
        denominators: Tensor | float = 0.0
        for (end, s, weight), flow in zip(parts, moved, strict=True):
            n, d = _strip(end, s, flow, top, stop)
            numerators, denominators = numerators + weight * n, denominators + weight * d
        assert isinstance(numerators, Tensor) and isinstance(denominators, Tensor)
        strips.append((numerators, denominators))
    numerators = torch.cat([n for n, _ in strips], 2)
    denominators = torch.cat([d for _, d in strips], 2)
    behind = _fallback(first, second, moved, tau)
    return (numerators + _FAINT * behind) / (denominators + _FAINT)


def _strip(end: _End, s: float, flow: Tensor, top: int, stop: int) -> tuple[Tensor, Tensor]:
    """Sums of what one end brings to rows top .. stop - 1: from those of its rows that reach them."""
    height = flow.shape[2]
    rows = slice(0, height)
    if stop - top < height:
        lands = flow[0, 1] + torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
        reach = ((lands > top - 1) & (lands < stop)).any(1).nonzero()
        if not len(reach):
            shape = (1, end.image.shape[1], stop - top, flow.shape[3])
            return flow.new_zeros(shape), flow.new_zeros(1, 1, *shape[2:])
        # The strip's own rows too: it is cut out of what they all make.
        rows = slice(min(top, int(reach.min())), max(stop, int(reach.max()) + 1))
    values = end.image[:, :, rows] + s * end.change[:, :, rows]
    n, d = splat_sums(values, flow[:, :, rows], "softmax", end.metric[:, :, rows])
    cut = slice(top - rows.start, stop - rows.start)
    return n[:, :, cut], d[:, :, cut]


def _end(image: Tensor, other: Tensor, side: Side) -> _End:
    seen = _pull(other, side.flow[None])
    visible = side.visibility[None, None]
    change = _slow(seen - image, visible)
    off = (seen - image - change).abs().mean(1, keepdim=True)
    metric = (visible + 1e-3).log() - _UNLIKE * off
    if side.order is not None:
        metric = metric + _COVER * side.order[None, None]
    return _End(image, side, metric.clamp(-_LIMIT, _LIMIT), change)


def _pull(image: Tensor, flow: Tensor) -> Tensor:
    """`image` [1, C, H, W] at x + flow(x), flow [1, 2, H, W]; edges repeated."""
    height, width = flow.shape[2:]
    points = torch.stack(_targets(flow), -1).reshape(1, -1, 2)
    return sample(image, points).transpose(1, 2).reshape(1, -1, height, width)


def _targets(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Where pixels go by flow [1, 2, H, W]: x and y [1, H, W], centres at + 0.5."""
    height, width = flow.shape[2:]
    x = torch.arange(width, device=flow.device) + 0.5 + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + 0.5 + flow[:, 1]
    return x, y


def _slow(field: Tensor, weight: Tensor) -> Tensor:
    """The slowly varying part of a field [1, C, H, W], by weights [1, 1, H, W]: exposure, shading, no detail."""
    height, width = field.shape[2:]
    small = (-(-height // _COARSE), -(-width // _COARSE))
    mass = F.interpolate(weight, small, mode="area")
    total = F.interpolate(field * weight, small, mode="area")
    radius = max(1, round(0.05 * small[0]))
    kernel = torch.ones(2 * radius + 1, device=field.device, dtype=field.dtype) / (2 * radius + 1)
    for _ in range(2):  # twice a box: a tent
        total, mass = _box(total, kernel), _box(mass, kernel)
    return F.interpolate(total / (mass + 0.05), (height, width), mode="bilinear", align_corners=False)


def _box(field: Tensor, kernel: Tensor) -> Tensor:
    channels, half = field.shape[1], len(kernel) // 2
    for shape, pad in (((1, 1, 1, -1), (half, half, 0, 0)), ((1, 1, -1, 1), (0, 0, half, half))):
        wide = F.pad(field, pad, mode="replicate")
        field = F.conv2d(wide, kernel.view(shape).expand(channels, 1, *kernel.view(shape).shape[2:]), groups=channels)
    return field


def _fallback(first: _End, second: _End, moved: Sequence[Tensor], tau: float) -> Tensor:
    """For holes: both frames pulled to the new one along the motion that surrounds the hole, where they reach."""
    values: Tensor | float = 0.0
    total: Tensor | float = 0.0
    for end, flow, weight in ((first, moved[0], 1 - tau), (second, moved[1], tau)):
        back = -_arrived(flow, end.metric)
        weights = weight * (_inside(back) + 1e-3)
        values, total = values + weights * _pull(end.image, back), total + weights
    assert isinstance(values, Tensor)
    return values / total


def _inside(flow: Tensor) -> Tensor:
    """1 where a pixel lands in the frame by flow [1, 2, H, W], 0 elsewhere: [1, 1, H, W]."""
    height, width = flow.shape[2:]
    x, y = _targets(flow)
    return ((x >= 0) & (x <= width) & (y >= 0) & (y <= height)).to(flow.dtype)[:, None]


def _arrived(flow: Tensor, metric: Tensor) -> Tensor:
    """Displacements [1, 2, H, W] as pixels of the new frame see them, smooth, holes filled from around them."""
    height, width = flow.shape[2:]
    small = (-(-height // _COARSE), -(-width // _COARSE))
    scale = flow.new_tensor([small[1] / width, small[0] / height]).view(1, 2, 1, 1)
    coarse, weight = F.interpolate(flow, small, mode="area"), F.interpolate(metric, small, mode="area")
    n, d = splat_sums(coarse, coarse * scale, "softmax", weight)
    n, d = n.contiguous(), d.contiguous()
    kernel = torch.ones(3, device=flow.device, dtype=flow.dtype) / 3
    filled_n, filled_d = n, d
    for _ in range(max(2, small[0] // 4)):
        n, d = _box(n, kernel), _box(d, kernel)
        hole = filled_d < 1e-3
        filled_n, filled_d = torch.where(hole, n, filled_n), torch.where(hole, d, filled_d)
        if not bool((filled_d < 1e-3).any()):
            break
    return F.interpolate(filled_n / (filled_d + 1e-9), (height, width), mode="bilinear", align_corners=False)


def _on(side: Side, device: torch.device) -> Side:
    curve, order = side.curve, side.order
    return Side(
        side.flow.to(device), side.visibility.to(device), None if curve is None else curve.to(device),
        None if order is None else order.to(device),
    )  # fmt: skip
