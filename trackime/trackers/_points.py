"""What the correlation tracker remembers of each point, in tensors of N rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from trackime.patches import CLOSE, CROP, WIDE, descriptors

DISTRACTORS = 16
"""Places of the query frame that look most like the query, kept for the backward check."""


@dataclass
class CorrelationPoints:
    """What is known of the N points of one clip; every tensor has N rows, so that rows can be taken and put back.

    Attributes:
        query: [N, 3] (x, y, t), pixels of the resized frame.
        xy: [N, 2] last place.
        velocity: [N, 2] pixels a frame.
        warp: [N, 2, 2] query frame to last frame.
        visibility: [N] in the last frame.
        hidden: [N] frames since the point was last seen.
        recent: [N, SIZE] descriptor where it was last surely seen.
        crops: [N, 4, K, K] half precision, the query frame's pixels.
        centre, colour, inner, outer: the query's `descriptors.Surround`, half precision.
        distractors: [N, DISTRACTORS, SIZE] half precision.
        emphasis: [N, SIZE] half precision, how much each number of a descriptor counts.
        wide, close: [N, P] half precision, trust in the samples of the two templates.
    """

    query: Tensor
    xy: Tensor
    velocity: Tensor
    warp: Tensor
    visibility: Tensor
    hidden: Tensor
    recent: Tensor
    crops: Tensor
    centre: Tensor
    colour: Tensor
    inner: Tensor
    outer: Tensor
    distractors: Tensor
    emphasis: Tensor
    wide: Tensor
    close: Tensor

    def take(self, rows: Tensor) -> CorrelationPoints:
        """The points of some rows, a copy."""
        return CorrelationPoints(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def put(self, rows: Tensor, points: CorrelationPoints, names: Iterable[str]) -> None:
        """Write some attributes of rows back."""
        for name in names:
            getattr(self, name)[rows] = getattr(points, name).to(getattr(self, name).dtype)

    def surround(self) -> descriptors.Surround:
        """In full precision."""
        return descriptors.Surround(self.centre.float(), self.colour.float(), self.inner.float(), self.outer.float())


ALL = tuple(f.name for f in fields(CorrelationPoints))
MOVING = ("xy", "velocity", "warp", "visibility", "hidden", "recent", "wide", "close")
"""What of `CorrelationPoints` changes after the query frame."""


def blank(query: Tensor) -> CorrelationPoints:
    """Points [N, 3] that have not met their query frame."""
    n = len(query)

    def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(n, *shape, device=query.device, dtype=dtype)

    half = torch.float16
    return CorrelationPoints(
        query=query,
        xy=query[:, :2].clone(),
        velocity=zeros(2),
        warp=torch.eye(2, device=query.device).repeat(n, 1, 1),
        visibility=zeros(),
        hidden=zeros(),
        recent=zeros(descriptors.SIZE),
        crops=zeros(4, CROP, CROP, dtype=half),
        centre=zeros(descriptors.BINS, dtype=half),
        colour=zeros(6, dtype=half),
        inner=zeros(descriptors.BINS, descriptors.CROP, descriptors.CROP, dtype=half),
        outer=zeros(descriptors.BINS, descriptors.CROP, descriptors.CROP, dtype=half),
        distractors=zeros(DISTRACTORS, descriptors.SIZE, dtype=half),
        emphasis=zeros(descriptors.SIZE, dtype=half),
        wide=zeros((2 * WIDE.radius + 1) ** 2, dtype=half),
        close=zeros((2 * CLOSE.radius + 1) ** 2, dtype=half),
    )
