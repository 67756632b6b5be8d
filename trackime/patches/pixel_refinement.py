"""Tracks refined on pixels: each position moved to where the query frame's own pixels fit best.

A small network's features locate a point to a pixel or two; pixels locate it better wherever there is texture. The
alignment is `grid_templates.align_grid`: templates of the query frame, whose warp is carried along the track, away from
the query frame in both directions. Where they do not fit, the position given is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trackime.patches.descriptors import blur, lab
from trackime.patches.grid_templates import (
    CLOSE,
    CROP,
    WIDE,
    align_grid,
    crop_templates,
    sample_templates,
    support_weights,
)
from trackime.patches.rows import row_blocks

_FIT = 0.4
"""Correlation above which an alignment is accepted."""
_REACH = 4.0
"""Pixels a position may be moved."""
_PAD = 32
"""Points are aligned in multiples of this many (see `rows`)."""


@dataclass(frozen=True)
class PixelTemplates:
    """The query frame's pixels around N points, and how they are warped by now.

    Attributes:
        crops: [N, 4, K, K] the query frame's pixels.
        wide, close: [N, P] trust in the samples of the two templates.
        warp: [N, 2, 2] query frame to the last frame in which they fitted.
    """

    crops: Tensor
    wide: Tensor
    close: Tensor
    warp: Tensor

    @classmethod
    def blank(cls, count: tuple[int, ...], like: Tensor) -> PixelTemplates:
        """Templates [*count, ...] of points whose query frame has not come yet."""
        wide, close = ((2 * grid.radius + 1) ** 2 for grid in (WIDE, CLOSE))
        sizes = ((4, CROP, CROP), (wide,), (close,))
        crops, trust, near = (like.new_zeros(*count, *size) for size in sizes)
        return cls(crops, trust, near, torch.eye(2, device=like.device).repeat(*count, 1, 1))

    def clone(self) -> PixelTemplates:
        """A copy."""
        return PixelTemplates(self.crops.clone(), self.wide.clone(), self.close.clone(), self.warp.clone())

    def of(self, clip: int) -> PixelTemplates:
        """One clip's, of templates [B, N, ...]."""
        return PixelTemplates(self.crops[clip], self.wide[clip], self.close[clip], self.warp[clip])


def lab_images(frames: Tensor) -> Tensor:
    """Lab images [T, 3, h, w], a little blurred, of frames [T, 3, h, w] in [0, 1]."""
    return blur(lab(frames.clamp(0, 1)), 0.6)


def cut_query_pixels(
    images: Tensor, templates: PixelTemplates, clip: int, t: Tensor, xy: Tensor, fresh: Tensor
) -> None:
    """Cut the templates of points whose query frame is among these.

    Args:
        images: [T, 3, h, w].
        templates: [B, N, ...]; written to.
        clip: which of B.
        t: int64 [N] query frames, counted from the first of these.
        xy: [N, 2] pixels.
        fresh: bool [N], which points.
    """
    for frame in t[fresh].unique().tolist():
        for rows in row_blocks(fresh & (t == frame), _PAD):
            crops = crop_templates(images[frame][None], xy[rows])
            templates.crops[clip, rows] = crops
            templates.wide[clip, rows] = support_weights(crops, WIDE)
            templates.close[clip, rows] = support_weights(crops, CLOSE)


def _fit(image: Tensor, templates: PixelTemplates, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Positions [N, 2] in one frame and the warps [N, 2, 2] found there; those given where pixels do not fit.

    Args:
        image: [3, h, w].
        templates: of N points.
        xy: [N, 2] pixels, initial positions.
    """
    wide = sample_templates(templates.crops, WIDE, templates.wide)
    first = align_grid(image[None], wide, xy, templates.warp, iterations=4, affine=3, reach=_REACH)
    close = sample_templates(templates.crops, CLOSE, templates.close)
    last = align_grid(image[None], close, first.xy, first.warp, iterations=4, reach=_REACH / 2)
    good = (last.correlation > _FIT) & ((last.xy - xy).norm(dim=-1) < _REACH)
    return torch.where(good[:, None], last.xy, xy), torch.where(good[:, None, None], last.warp, templates.warp)


def refine_tracks(
    images: Tensor, templates: PixelTemplates, t: Tensor, xy: Tensor, mark: int | None = None, both: bool = True
) -> tuple[Tensor, Tensor]:
    """Refine tracks through successive frames, away from their query frames.

    Args:
        images: [T, 3, h, w] of `lab_images`.
        templates: of N points; their warps are those of the frame before the first, or of a query frame among these.
        t: int64 [N] query frames, counted from the first; may lie before it. Points of later ones are left alone.
        xy: [N, T, 2] pixels.
        mark: a frame; None: beyond the last.
        both: also backward in time from the query frame; False: forward alone.

    Returns:
        [N, T, 2], and the warps [N, 2, 2] as they were before frame `mark`.
    """
    length, xy = len(images), xy.clone()
    marked = templates.warp
    directions: list[tuple[Sequence[int], Callable[[Tensor, int], Tensor]]] = [(range(length), torch.lt)]
    if both:
        directions.append((range(length - 1, -1, -1), torch.gt))
    for order, is_past in directions:
        warp = templates.warp.clone()
        for frame in order:
            if frame == mark and is_past is torch.lt:
                marked = warp.clone()
            for rows in row_blocks(is_past(t, frame), _PAD):
                mine = PixelTemplates(templates.crops[rows], templates.wide[rows], templates.close[rows], warp[rows])
                xy[rows, frame], warp[rows] = _fit(images[frame], mine, xy[rows, frame])
        if mark is None and is_past is torch.lt:
            marked = warp
    return xy, marked
