"""What all networks of the SAM family have in common: prompts in, the right one of several masks out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trackime.devices import resolve_device
from trackime.errors import InputError, ShapeError
from trackime.segmenters._canvas import Canvas
from trackime.segmenters.base import PointSegmenter, check_prompts

_NOTHING = -10.0
"""Logit everywhere of a prompt that points at nothing."""


@dataclass(frozen=True)
class Embedding:
    """One encoded frame.

    Attributes:
        canvas: how the frame lies on the network's square.
        features: what the network made of it; opaque.
    """

    canvas: Canvas
    features: Any


@dataclass(frozen=True)
class Prompts:
    """Prompts of one kind, in the network's terms; P >= 1.

    Attributes:
        points: [P, K, 2] pixels of the canvas, whole numbers at the pixels' centres; K may be 0.
        labels: int64 [P, K] 1 on the object, 0 off it; no padding.
        boxes: [P, 4] same pixels, or None.
        masks: [P, 1, 4g, 4g] logits, or None.
        several: whether the candidates for an ambiguous prompt are wanted, or the one mask of a clear one.
    """

    points: Tensor
    labels: Tensor
    boxes: Tensor | None
    masks: Tensor | None
    several: bool


@dataclass(frozen=True)
class _Group:
    """Prompts (rows) with equally many points, so that none needs padding."""

    rows: Tensor  # int64 [n]
    columns: Tensor  # int64 [n, K] which points
    prior: bool  # whether these have one
    empty: bool  # whether these point at nothing


class PromptedSegmenter(PointSegmenter):
    """A network of the SAM family behind `PointSegmenter`.

    A single point leaves open whether the part, the thing or the group is meant: the network answers with several
    masks, and the one it predicts the highest IoU for is taken. Two points or more, a box or a prior settle it: its
    one mask for clear prompts is taken. The score is the predicted IoU, limited to [0, 1].

    Args:
        device: where it computes.
        prompt_chunk: prompts decoded at once; fewer take less memory (some 30 MB each, besides masks of the
            frame's size) and give the same.

    Raises:
        InputError: `prompt_chunk` below 1.
    """

    side: int
    """Of the square the network sees, in pixels."""
    grid: int
    """Side of its embedding; masks come and go with four times that."""
    stretched: bool = False
    """Whether frames are stretched over the square, instead of keeping their shape."""

    def __init__(self, device: str | torch.device = "cpu", prompt_chunk: int = 16) -> None:
        if prompt_chunk < 1:
            raise InputError(f"prompt_chunk: expected 1 or more, got {prompt_chunk}")
        self.device, self.prompt_chunk = resolve_device(device), prompt_chunk

    def _features(self, image: Tensor) -> Any:
        """What all prompts share, of an image [1, 3, side, side]; needed unless `encode` is overridden."""
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
        """Where a frame lies on the network's square. ShapeError where it is not [3, H, W], or without a pixel."""
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
        """One mask a prompt. See `PointSegmenter.decode`.

        A prior that is 0 everywhere is none. A prompt without a single positive point, box or prior yields an empty
        mask, score 0.

        Raises:
            ShapeError: arrays that do not fit each other or the frame.
            InputError: labels other than 1, 0 and -1; points, boxes or priors that are not finite.
        """
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
        """Every mask the network proposes for an ambiguous prompt, whatever the prompt is.

        Arguments and errors are those of `decode`.

        Returns:
            logits [P, M, H, W] and score [P, M] in [0, 1], in no particular order; M is 3 for the published models.
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
        """Rows [n] of `points`, and their prompts; together all that point at something, in bounded batches."""
        check_prompts(canvas.size, points, labels, boxes, prior)
        points, labels = points.to(self.device, torch.float32), labels.to(self.device, torch.int64)
        known = None if prior is None else prior.flatten(1).any(1).cpu().numpy()
        for group in _groups(labels.cpu().numpy(), boxes is not None, known):
            if group.empty:
                continue
            for i in range(0, len(group.rows), self.prompt_chunk):
                rows = group.rows[i : i + self.prompt_chunk].to(self.device)
                columns = group.columns[i : i + self.prompt_chunk].to(self.device)
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


def _groups(labels: np.ndarray, boxed: bool, known: np.ndarray | None) -> Iterator[_Group]:
    """Prompts in groups of equally many points, with a prior and without.

    The networks have a token for "not a point", and it takes part in the attention: only prompts of the same number
    of points may share a batch if padding is to mean nothing at all.
    """
    real = labels >= 0
    number, positive = real.sum(1), (labels == 1).any(1)
    prior = np.zeros(len(labels), bool) if known is None else known
    empty = ~(positive | prior | boxed)
    order = np.argsort(~real, 1, kind="stable")  # points first, padding last
    for key in sorted({*zip(number.tolist(), prior.tolist(), empty.tolist(), strict=True)}):
        rows = np.flatnonzero((number == key[0]) & (prior == key[1]) & (empty == key[2]))
        yield _Group(torch.from_numpy(rows), torch.from_numpy(order[rows, : key[0]]), key[1], key[2])
