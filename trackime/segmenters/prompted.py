"""What networks of the SAM family share: batches of prompts, and the choice among several masks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trackime.arrays import BoolArray, Int64, blocks
from trackime.devices import resolve_device
from trackime.errors import InputError, ShapeError
from trackime.segmenters._canvas import Canvas
from trackime.segmenters.base import PointSegmenter, check_prompts

_NOTHING = -10.0
"""Logit of an empty mask."""


@dataclass(frozen=True)
class Embedding:
    """One encoded frame.

    Attributes:
        canvas: the frame's place on the network's square.
        features: the network's; opaque.
    """

    canvas: Canvas
    features: Any


@dataclass(frozen=True)
class Prompts:
    """Prompts with equally many points, all with or all without boxes and masks, on the canvas; P >= 1.

    Attributes:
        points: [P, K, 2] (x, y) pixels of the canvas, integers at the pixels' centres; K may be 0.
        labels: int64 [P, K] 1 on the object, 0 off it; no padding.
        boxes: [P, 4] (x0, y0, x1, y1), same pixels, or None.
        masks: [P, 1, 4g, 4g] logits, g the side of the embedding, or None.
        several: whether the masks for an ambiguous prompt are wanted, or the one mask for an unambiguous one.
    """

    points: Tensor
    labels: Tensor
    boxes: Tensor | None
    masks: Tensor | None
    several: bool


@dataclass(frozen=True)
class _Batch:
    """Prompts with equally many points, so that none needs padding."""

    rows: Tensor  # int64 [n] of the prompts
    columns: Tensor  # int64 [n, K] of their points
    prior: bool  # whether they have one


class PromptedSegmenter(PointSegmenter):
    """A network of the SAM family behind `PointSegmenter`.

    A single point is ambiguous (part, object or group): of the network's several masks the one with the highest
    predicted IoU is taken. For two points or more, a box or a prior it is the network's single mask for unambiguous
    prompts. The score is the predicted IoU, clipped to [0, 1]. A subclass sets `side` and `grid` and implements
    `_features` and `_masks`.

    Args:
        device: of the network.
        prompt_chunk: prompts decoded at once, which bounds memory (about 30 MB each, besides masks of the frame's
            size) and does not change the result.

    Raises:
        InputError: `prompt_chunk` below 1.
    """

    side: int
    """Side of the canvas in pixels."""
    grid: int
    """Side of the embedding; masks have four times that."""
    stretched: bool = False
    """Whether frames are stretched over the canvas, instead of keeping their aspect ratio."""

    def __init__(self, device: str | torch.device = "cpu", prompt_chunk: int = 16) -> None:
        if prompt_chunk < 1:
            raise InputError(f"prompt_chunk: expected 1 or more, got {prompt_chunk}")
        self.device, self.prompt_chunk = resolve_device(device), prompt_chunk

    def _features(self, image: Tensor) -> Any:
        """What all prompts of an image [1, 3, side, side] share; needed unless `encode` is overridden."""
        raise NotImplementedError

    @abstractmethod
    def _masks(self, features: Any, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Logits [P, M, 4g, 4g] and predicted IoU [P, M]."""

    def encode(self, frame: Tensor) -> Embedding:
        """Run the image encoder. See `PointSegmenter.encode`.

        Raises:
            ShapeError: not [3, H, W], or without a pixel.
        """
        canvas = self._canvas(frame)
        with torch.no_grad():
            return Embedding(canvas, self._features(canvas.image(frame.to(self.device, torch.float32))))

    def _canvas(self, frame: Tensor) -> Canvas:
        """The canvas of a frame. ShapeError where it is not [3, H, W], or without a pixel."""
        if frame.ndim != 3 or frame.shape[0] != 3 or 0 in frame.shape:
            raise ShapeError("frame", "[3, H, W]", frame.shape)
        return Canvas((frame.shape[1], frame.shape[2]), self.side, self.stretched)

    def decode(
        self,
        embedding: Embedding,
        points: Tensor,
        labels: Tensor,
        boxes: Tensor | None = None,
        prior: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One mask for each prompt. See `PointSegmenter.decode`."""
        count, canvas = len(points), embedding.canvas
        logits = torch.full((count, *canvas.size), _NOTHING, device=self.device)
        score = torch.zeros(count, device=self.device)
        with torch.no_grad():
            for rows, prompts in self._prompts(canvas, points, labels, boxes, prior):
                masks, iou = self._masks(embedding.features, prompts)
                best = iou.argmax(1)  # of one, that one
                each = torch.arange(len(best), device=best.device)
                logits[rows] = canvas.frame(masks[each, best][:, None])[:, 0]
                score[rows] = iou[each, best].clamp(0, 1)
        return logits, score

    def candidates(
        self,
        embedding: Embedding,
        points: Tensor,
        labels: Tensor,
        boxes: Tensor | None = None,
        prior: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """All masks that the network proposes for ambiguous prompts, whether a prompt is one or not.

        Arguments and errors are those of `decode`.

        Returns:
            logits [P, M, H, W] and score [P, M] in [0, 1], unordered; M is 3 for the published models.
        """
        count, canvas = len(points), embedding.canvas
        logits = torch.full((count, 0, *canvas.size), _NOTHING, device=self.device)
        score = torch.zeros((count, 0), device=self.device)
        with torch.no_grad():
            for rows, prompts in self._prompts(canvas, points, labels, boxes, prior, several=True):
                masks, iou = self._masks(embedding.features, prompts)
                if not logits.shape[1]:
                    logits = logits.new_full((count, iou.shape[1], *canvas.size), _NOTHING)
                    score = score.new_zeros((count, iou.shape[1]))
                logits[rows] = canvas.frame(masks)
                score[rows] = iou.clamp(0, 1)
        return logits, score

    def _prompts(
        self,
        canvas: Canvas,
        points: Tensor,
        labels: Tensor,
        boxes: Tensor | None,
        prior: Tensor | None,
        several: bool | None = None,
    ) -> Iterator[tuple[Tensor, Prompts]]:
        """Rows [n] of `points` and their prompts, in batches of `prompt_chunk`; empty prompts are left out."""
        check_prompts(canvas.size, points, labels, boxes, prior)
        points, labels = points.to(self.device, torch.float32), labels.to(self.device, torch.int64)
        known = None if prior is None else prior.flatten(1).any(1).cpu().numpy()
        for group in _groups(labels.cpu().numpy(), boxes is not None, known):
            for part in blocks(len(group.rows), self.prompt_chunk):
                rows, columns = group.rows[part].to(self.device), group.columns[part].to(self.device)
                clear = columns.shape[1] != 1 or boxes is not None or group.prior
                mask = prior[rows.to(prior.device)] if prior is not None and group.prior else None
                yield (
                    rows,
                    Prompts(
                        points=canvas.points(points[rows[:, None], columns]),
                        labels=labels[rows[:, None], columns],
                        boxes=None if boxes is None else canvas.boxes(boxes.to(self.device, torch.float32)[rows]),
                        masks=None if mask is None else canvas.mask(mask.to(self.device, torch.float32), 4 * self.grid),
                        several=not clear if several is None else several,
                    ),
                )


def _groups(labels: Int64, boxed: bool, known: BoolArray | None) -> Iterator[_Batch]:
    """Prompts that are not empty, grouped by their number of points and by whether they have a prior.

    The networks' token for "not a point" takes part in the attention, so padding would change the masks.
    """
    real = labels >= 0
    number, positive = real.sum(1), (labels == 1).any(1)
    prior = np.zeros(len(labels), bool) if known is None else known
    empty = ~(positive | prior | boxed)
    order = np.argsort(~real, 1, kind="stable")  # points first, padding last
    for count, has_prior in sorted({*zip(number[~empty].tolist(), prior[~empty].tolist(), strict=True)}):
        rows = np.flatnonzero((number == count) & (prior == has_prior) & ~empty)
        yield _Batch(torch.from_numpy(rows), torch.from_numpy(order[rows, :count]), has_prior)
