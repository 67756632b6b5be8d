"""The canonical cost-volume tracker (InstaTAP, section 3.2) with hand-made descriptors: nothing to download.

Frames are resized to 256 x 256. A point is found again in each frame by one matrix product of its descriptor with
those of 64 x 64 cells, a mild motion prior, a soft-argmax, a search at two pixels, and an alignment of the query
frame's own pixels; how well all of these agree is the visibility. The whole frame is searched every time, so a point
that was covered is found wherever it reappears, and more pixels a point (a smaller window) mean finer tracks.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from trackime.devices import resolve_device
from trackime.errors import InputError, ShapeError
from trackime.geometry import resize_frames, scale_points
from trackime.patches import (
    CLOSE,
    WIDE,
    GridAlignment,
    align_grid,
    crop_templates,
    descriptors,
    pad_rows,
    row_blocks,
    sample_templates,
    support_weights,
)
from trackime.trackers import _costvolume as costvolume
from trackime.trackers._options import check_positive, check_size
from trackime.trackers._points import ALL, DISTRACTORS, MOVING, CorrelationPoints, blank
from trackime.trackers.base import Features, PointTracker, check_frames, check_queries

_STRIDE = 4
"""Pixels a cell of the cost volume."""
_PAD = 32
"""Points are followed in multiples of this many (see `patches.rows`)."""
_APART = 3.0
"""Pixels between two candidates that are both tried."""
_RIVAL = 0.1
"""Similarity below the first peak's at which the second peak still is tried."""
_TRUST_RATE = 0.2
"""Share of the newest frame in the trust in a template's samples."""
_CUES = {
    "correlation": 1.312,
    "residual": -0.014,
    "colour": -0.035,
    "similarity": -0.963,
    "recent": 1.386,
    "margin": 0.919,
    "backward": 6.445,
    "jump": -0.787,
    "before": 0.046,
    "hidden": 0.188,
    "trusted": 16.491,
}
"""What visibility is judged by (`Correlation._cues`) and the coefficient of each: a logistic regression on procedural
worlds, where a candidate counts as right when the point is visible and within 5 px."""
_INTERCEPT = -11.2
"""Of that regression; raised from -11.7 to where Jaccard and occlusion accuracy are best."""


@dataclass(frozen=True)
class _FrameFeatures:
    """Features of one frame: Lab image [1, 3, h, w], maps of descriptors, and the cells' descriptors [P, SIZE]."""

    image: Tensor
    maps: descriptors.DescriptorMaps
    cells: Tensor


@dataclass
class CorrelationState:
    """Where `advance` left off: the next frame's index, the points of each clip, and the queries [B, N, 3] as given."""

    t: int
    points: list[CorrelationPoints]
    queries: Tensor
    size: tuple[int, int]


class Correlation(PointTracker):
    """Cost-volume tracker on hand-made descriptors.

    Args:
        device: cpu, cuda, cuda:N, mps or auto.
        input_size: (h, w) frames are resized to, multiples of 4 of at least 32.
        query_chunk: points followed at once: bounds the cost volume's memory (query_chunk x cells floats).
        motion_weight: similarity a unit of the motion prior's log costs; 0: no prior.
        motion_scale: pixels a point moves away from where it is expected without being thought less likely.
        recent_weight: share of the last sure appearance, beside the query's, in what is looked for; 0: query alone.

    Raises:
        InputError: an option outside its range.
        DeviceError: no such device.
    """

    name = "correlation"

    def __init__(
        self,
        device: str | torch.device = "cpu",
        input_size: tuple[int, int] = (256, 256),
        query_chunk: int = 512,
        motion_weight: float = 0.04,
        motion_scale: float = 6.0,
        recent_weight: float = 0.5,
    ) -> None:
        check_positive(query_chunk=query_chunk)
        if not 0 <= recent_weight < 1 or motion_weight < 0 or not motion_scale > 0:
            raise InputError(
                "options: expected 0 <= recent_weight < 1, motion_weight >= 0, motion_scale > 0, "
                f"got {recent_weight:g}, {motion_weight:g}, {motion_scale:g}"
            )
        self.device = resolve_device(device)
        self.input_size: tuple[int, int] = check_size(input_size, 4, 32)
        self.query_chunk = query_chunk
        self.motion_weight, self.motion_scale, self.recent_weight = motion_weight, motion_scale, recent_weight
        self._cells = descriptors.cell_centres(*self.input_size, _STRIDE, torch.zeros((), device=self.device))

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Features:
        """Lab image, pooled maps and cell descriptors of each frame, half precision (about 3 MB a frame)."""
        check_frames(frames)
        b, t = frames.shape[:2]
        # A frame at a time: rounding cannot depend on how many came together, and memory stays flat.
        rows = [[self._encode(frames[i, k]) for k in range(t)] for i in range(b)]
        names = ("image", "centre", "inner", "outer", "colour", "cells")
        h, w = frames.shape[-2:]
        return Features({n: [[f[n] for f in row] for row in rows] for n in names}, (h, w))

    def _encode(self, frame: Tensor) -> dict[str, Tensor]:
        rgb = resize_frames(frame[None].to(self.device, torch.float32), self.input_size)
        image = descriptors.blur(descriptors.lab(rgb.clamp(0, 1)), 0.6)
        maps = descriptors.describe_frames(image)
        data = {"image": image, "cells": descriptors.describe_cells(maps)[0]}
        data |= {f.name: getattr(maps, f.name) for f in fields(maps)}
        return {k: v.half() for k, v in data.items()}

    @torch.no_grad()
    def open(self, queries: Tensor, size: tuple[int, int]) -> CorrelationState:
        """See `PointTracker.open`."""
        check_queries(queries)
        queries = queries.to(self.device, torch.float32)
        xy = scale_points(queries[..., :2], size, self.input_size)
        rows = torch.cat([xy, queries[..., 2:]], -1)
        return CorrelationState(0, [blank(row) for row in rows], queries, size)

    @torch.no_grad()
    def advance(self, state: CorrelationState, features: Features) -> tuple[Tensor, Tensor, CorrelationState]:
        """See `PointTracker.advance`. The state given is used up."""
        if len(state.points) != features.batch:
            raise ShapeError("features", f"{len(state.points)} clips", (features.batch,))
        clips = [self._advance(points, state.t, features, b) for b, points in enumerate(state.points)]
        xy = scale_points(torch.stack([c[0] for c in clips]), self.input_size, state.size)
        visibility = torch.stack([c[1] for c in clips])
        # Up to the query frame a point is the query to the last bit, which two scalings would not return.
        times = torch.arange(state.t, state.t + features.frames, device=self.device)
        resting = times <= state.queries[..., 2:]  # [B, N, T']
        xy = torch.where(resting[..., None], state.queries[:, :, None, :2], xy)
        return xy, visibility, replace(state, t=state.t + features.frames)

    def _advance(self, points: CorrelationPoints, t0: int, features: Features, b: int) -> tuple[Tensor, Tensor]:
        xy, visibility = [], []
        for k in range(features.frames):
            frame = _frame(features, b, k)
            due = points.query[:, 2]
            for rows in row_blocks(due < t0 + k, _PAD, self.query_chunk):
                points.put(rows, self._step(points.take(rows), frame), MOVING)
            for rows in row_blocks(due == t0 + k, _PAD, self.query_chunk):
                points.put(rows, self._start(points.take(rows), frame), ALL)
            xy.append(points.xy.clone())
            visibility.append(points.visibility.clone())
        return torch.stack(xy, 1), torch.stack(visibility, 1)

    def _start(self, points: CorrelationPoints, frame: _FrameFeatures) -> CorrelationPoints:
        """What is remembered of points in their query frame."""
        xy = points.query[:, :2]
        around = descriptors.surround(frame.maps, xy)
        recent = descriptors.describe(frame.maps, xy[None])[0]
        weights = descriptors.emphasis(frame.maps, xy)
        cost = costvolume.cost_volume(recent * weights, frame.cells)
        far = costvolume.motion_prior(self._cells[0], xy, torch.full_like(xy[:, 0], 1.0)) < -4.2  # further than 8 px
        best = cost.masked_fill(~far, -1.0).topk(DISTRACTORS, 1).indices
        crops = crop_templates(frame.image, xy)
        return replace(
            points,
            xy=xy,
            visibility=torch.ones_like(points.visibility),
            recent=recent,
            crops=crops,
            emphasis=weights,
            wide=support_weights(crops, WIDE),
            close=support_weights(crops, CLOSE),
            distractors=frame.cells[best],
            **{f.name: getattr(around, f.name) for f in fields(around)},
        )

    def _step(self, points: CorrelationPoints, frame: _FrameFeatures) -> CorrelationPoints:
        """One frame on: look everywhere, look closely, align, judge, remember."""
        expected = points.xy + points.velocity
        wanted = descriptors.describe_warped(points.surround(), points.warp)
        kind, rows, starts, margin = self._candidates(points, frame, wanted, expected)
        tried = points.take(rows)
        wide, fit = self._align(tried, frame, starts)
        now = descriptors.describe(frame.maps, fit.xy[None])[0]
        cues = self._cues(tried, wanted[rows], now, margin[rows], expected[rows], fit)
        judged = (cues * cues.new_tensor(list(_CUES.values()))).sum(1) + _INTERCEPT
        scores = judged.new_full((3, len(expected)), -torch.inf)
        place = torch.zeros_like(scores, dtype=torch.long)
        scores[kind, rows] = judged
        place[kind, rows] = torch.arange(len(rows), device=rows.device)
        score, best = scores.max(0)
        chosen = place.gather(0, best[None])[0]
        fits = (wide[chosen], fit.fits[chosen])
        return self._remember(points, torch.sigmoid(score), fit.xy[chosen], fit.warp[chosen], now[chosen], fits)

    def _candidates(
        self, points: CorrelationPoints, frame: _FrameFeatures, wanted: Tensor, expected: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Places worth a closer look: the best peak, the second one, and where the motion leads.

        Returns:
            kind [K] 0, 1 or 2; row [K] of `points`; place [K, 2]; and the margin [N] of the first peak over the second.
        """
        mixed = (wanted + self.recent_weight * (points.recent - wanted)) * points.emphasis.float()
        cost = costvolume.cost_volume(mixed, frame.cells)
        scale = self.motion_scale * (1 + points.hidden).sqrt()
        prior = costvolume.motion_prior(self._cells[0], expected, scale) * self.motion_weight
        h, w = self.input_size
        peaks = costvolume.find_peaks(cost, prior, (h // _STRIDE, w // _STRIDE), _STRIDE)
        margin = peaks.value - peaks.second
        starts = torch.stack([self._search(frame, mixed, peaks.xy), peaks.second_xy, expected])  # [3, N, 2]
        # The others are tried where they are elsewhere, the second peak only where it is nearly as high.
        apart = (starts - starts[0]).norm(dim=-1) > _APART
        apart[0] = True
        apart[1] &= margin < _RIVAL
        kind, rows = (pad_rows(index, _PAD) for index in torch.nonzero(apart, as_tuple=True))
        return kind, rows, starts[kind, rows], margin

    def _search(self, frame: _FrameFeatures, wanted: Tensor, xy: Tensor) -> Tensor:
        """Places [N, 2] near xy that look most like wanted [N, SIZE]: every 2 px within 4, then a parabola."""
        n, k = len(xy), 5
        grid = descriptors.square_grid(k // 2, 2, xy)
        near = descriptors.describe(frame.maps, (xy[:, None] + grid).reshape(1, -1, 2))[0].view(n, k * k, -1)
        similarity = (near @ wanted[:, :, None])[:, :, 0].view(n, k, k)
        return xy + costvolume.refine_peaks(similarity, 2.0)[0]

    def _align(self, points: CorrelationPoints, frame: _FrameFeatures, xy: Tensor) -> tuple[Tensor, GridAlignment]:
        """The query frame's pixels laid over the frame: wide and deforming first, then those next to the point.

        Returns:
            how well each sample of the wide template fits [N, P], and the final fit.
        """
        crops = points.crops.float()
        wide = sample_templates(crops, WIDE, points.wide.float())
        fit = align_grid(frame.image, wide, xy, points.warp, iterations=4, affine=3)
        close = sample_templates(crops, CLOSE, points.close.float())
        return fit.fits, align_grid(frame.image, close, fit.xy, fit.warp, iterations=5, reach=3.0)

    def _cues(
        self,
        points: CorrelationPoints,
        wanted: Tensor,
        now: Tensor,
        margin: Tensor,
        expected: Tensor,
        fit: GridAlignment,
    ) -> Tensor:
        """What candidates are judged by, [N, 11]."""
        weighed = now * points.emphasis.float()
        similarity = (weighed * wanted).sum(-1)
        rivals = (points.distractors.float() @ weighed[:, :, None])[:, :, 0].amax(1)
        close = points.close.float()
        trusted = (close * fit.fits).sum(1) / close.sum(1)
        cues = (
            fit.correlation,
            fit.residual,
            fit.colour,
            similarity,
            (weighed * points.recent).sum(-1),
            margin,
            similarity - rivals,
            torch.log1p((fit.xy - expected).square().sum(-1) / self.motion_scale**2),
            points.visibility,
            torch.log1p(points.hidden),
            trusted,
        )
        return torch.stack(cues, -1)

    def _remember(
        self,
        points: CorrelationPoints,
        visibility: Tensor,
        xy: Tensor,
        warp: Tensor,
        now: Tensor,
        fits: tuple[Tensor, Tensor],
    ) -> CorrelationPoints:
        """The state after a frame."""
        seen = visibility > 0.5
        velocity = 0.5 * points.velocity + 0.5 * (xy - points.xy)
        keep = seen & (points.hidden < 1)
        return replace(
            points,
            xy=xy,
            velocity=torch.where(keep[:, None], velocity, 0 * points.velocity),
            warp=torch.where(seen[:, None, None], warp, points.warp),
            visibility=visibility,
            hidden=torch.where(seen, 0 * points.hidden, points.hidden + 1),
            recent=torch.where(seen[:, None], 0.5 * points.recent + 0.5 * now, points.recent),
            wide=torch.where(seen[:, None], points.wide.float().lerp(fits[0], _TRUST_RATE), points.wide.float()),
            close=torch.where(seen[:, None], points.close.float().lerp(fits[1], _TRUST_RATE), points.close.float()),
        )


def _frame(features: Features, b: int, k: int) -> _FrameFeatures:
    data: dict[str, Any] = {name: rows[b][k].float() for name, rows in features.data.items()}
    maps = descriptors.DescriptorMaps(*(data[f.name] for f in fields(descriptors.DescriptorMaps)))
    return _FrameFeatures(data["image"], maps, data["cells"])
