"""Tracks laid onto the pixels: each position moved to where the query frame's own pixels fit best.

A small network's features know a place to a pixel or two; the pixels themselves know it better, wherever something is
to be seen. Alignment is that of `trackime.patches._align`: templates of the query frame, whose warp is carried along
the track, away from the query frame both ways. Where they do not fit, the network's position stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trackime.patches import _align as align
from trackime.patches import descriptors

_FIT = 0.4
"""Correlation above which pixels are believed."""
_REACH = 4.0
"""Pixels a position may be moved."""
_PAD = 32
"""Points are aligned in multiples of this many: alignment amplifies how odd numbers of rows are rounded."""


@dataclass(frozen=True)
class PixelTemplates:
    """What is remembered of N points.

    Attributes:
        crops: [N, 4, K, K] the query frame's pixels.
        wide, close: [N, P] trust in the samples of the two templates.
        warp: [N, 2, 2] query frame to the last frame in which they fitted.
    """

    crops: Tensor
    wide: Tensor
    close: Tensor
    warp: Tensor

    def clone(self) -> PixelTemplates:
        """A copy."""
        return PixelTemplates(self.crops.clone(), self.wide.clone(), self.close.clone(), self.warp.clone())

    def of(self, clip: int) -> PixelTemplates:
        """One clip's, of templates [B, N, ...]."""
        return PixelTemplates(self.crops[clip], self.wide[clip], self.close[clip], self.warp[clip])


def blank(count: tuple[int, ...], like: Tensor) -> PixelTemplates:
    """PixelTemplates [*count, ...] of points that have not met their query frame."""
    wide, close = ((2 * grid.radius + 1) ** 2 for grid in (align.WIDE, align.CLOSE))
    sizes = ((4, align.CROP, align.CROP), (wide,), (close,))
    crops, trust, near = (like.new_zeros(*count, *size) for size in sizes)
    return PixelTemplates(crops, trust, near, torch.eye(2, device=like.device).repeat(*count, 1, 1))


def lightness(frames: Tensor) -> Tensor:
    """Lab images [T, 3, h, w], a little blurred, of frames [T, 3, h, w] in [0, 1]."""
    return descriptors.blur(descriptors.lab(frames.clamp(0, 1)), 0.6)


def meet(images: Tensor, templates: PixelTemplates, clip: int, t: Tensor, xy: Tensor, fresh: Tensor) -> None:
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
        for rows in blocks(fresh & (t == frame), _PAD):
            crops = align.crop_templates(images[frame][None], xy[rows])
            templates.crops[clip, rows] = crops
            templates.wide[clip, rows] = align.support(crops, align.WIDE)
            templates.close[clip, rows] = align.support(crops, align.CLOSE)


def _fit(image: Tensor, templates: PixelTemplates, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Positions [N, 2] in one frame, and the warps [N, 2, 2] found there; what was given, where pixels do not fit.

    Args:
        image: [3, h, w].
        templates: of N points.
        xy: [N, 2] pixels, where they are thought to be.
    """
    wide = align.templates(templates.crops, align.WIDE, templates.wide)
    first = align.align(image[None], wide, xy, templates.warp, iterations=4, affine=3, reach=_REACH)
    close = align.templates(templates.crops, align.CLOSE, templates.close)
    last = align.align(image[None], close, first.xy, first.warp, iterations=4, reach=_REACH / 2)
    good = (last.correlation > _FIT) & ((last.xy - xy).norm(dim=-1) < _REACH)
    return torch.where(good[:, None], last.xy, xy), torch.where(good[:, None, None], last.warp, templates.warp)


def settle(
    images: Tensor, templates: PixelTemplates, t: Tensor, xy: Tensor, mark: int | None = None, both: bool = True
) -> tuple[Tensor, Tensor]:
    """Tracks through successive frames, away from their query frames.

    Args:
        images: [T, 3, h, w] of `lightness`.
        templates: of N points; their warps are those of the frame before the first, or of a query frame among these.
        t: int64 [N] query frames, counted from the first; may lie before it. Points of later ones are left alone.
        xy: [N, T, 2] pixels.
        mark: a frame; None: beyond the last.
        both: also back in time from the query frame; off: on from it alone.

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
            for rows in blocks(is_past(t, frame), _PAD):
                mine = PixelTemplates(templates.crops[rows], templates.wide[rows], templates.close[rows], warp[rows])
                xy[rows, frame], warp[rows] = _fit(images[frame], mine, xy[rows, frame])
        if mark is None and is_past is torch.lt:
            marked = warp
    return xy, marked


def blocks(mask: Tensor, size: int, at_once: int = 256) -> list[Tensor]:
    """Rows where mask [N] is true, at most `at_once` together, the last one repeated up to a multiple of `size`."""
    rows = torch.nonzero(mask)[:, 0]
    parts = rows.split(at_once) if len(rows) else ()
    return [torch.cat([part, part[-1:].expand(-len(part) % size)]) for part in parts]
