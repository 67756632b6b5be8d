"""Masks of objects from a segmenter prompted with their tracked points, judged by all that was tracked.

F. Rajic et al.: Segment anything meets point tracking (SAM-PT). WACV 2025, extended: of all candidates the one that
agrees best with the tracks is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from trackime.arrays import BoolArray, FloatArray, IntArray, UInt8, blocks, ids_at
from trackime.geometry import to_torch
from trackime.segmenters import PointSegmenter, PromptedSegmenter

PROMPT = 8
"""Points on an object, and as many off it, in a joint prompt: more confuse a network, and only judge its mask."""

TRUST = 0.5
"""A mask of more agreement than this is taken as it is, others are one more piece of evidence for the cut."""

BLOCK = 1 << 22
"""Pixels of all masks that are decoded at once for prompts of single points."""


@dataclass(frozen=True)
class PromptPoints:
    """An object's tracked points and propagated mask in one frame, pixels of the video.

    Attributes:
        on: [N, 2] its visible points.
        weights: [N] their visibility.
        off: [M, 2] visible points on something else.
        propagated: bool [H, W] its mask propagated from other frames; None: there is none.
    """

    on: FloatArray
    weights: FloatArray
    off: FloatArray
    propagated: BoolArray | None


@dataclass(frozen=True)
class PredictedMask:
    """A segmenter's mask of one object.

    Attributes:
        logits: float32 [H, W], above 0 on the object.
        agreement: in [0, 1], how far it agrees with what was tracked.
    """

    logits: FloatArray
    agreement: float


class PointPrompter:
    """A segmenter prompted in every frame: one encoding, the prompts of all objects in batches.

    Args:
        segmenter: any; of one of the SAM family all candidates are compared, not only the one it scores highest.
        prompts: "joint" or "each", see `VosConfig.prompts`.
    """

    def __init__(self, segmenter: PointSegmenter, prompts: str) -> None:
        self.segmenter, self.prompts = segmenter, prompts

    def predict(self, frame: UInt8, objects: Mapping[int, PromptPoints]) -> dict[int, PredictedMask]:
        """The masks [H, W] of objects with any visible point.

        Args:
            frame: uint8 [H, W, 3].
            objects: by id.
        """
        prompted = {k: points for k, points in objects.items() if len(points.on)}
        if not prompted:
            return {}
        embedding = self.segmenter.encode(to_torch(frame[None], self.segmenter.device)[0])
        if self.prompts == "each":
            return self._each(embedding, prompted, frame.shape[0] * frame.shape[1])
        return self._joint(embedding, prompted)

    def _joint(self, embedding: Any, prompted: Mapping[int, PromptPoints]) -> dict[int, PredictedMask]:
        """One prompt per object, of a few of its points; the candidate that agrees best with all of them."""
        prompts = [(_spread(p.on), _nearest(p.off, p.on)) for p in prompted.values()]
        width = max(len(on) + len(off) for on, off in prompts)
        points = np.zeros((len(prompts), width, 2), np.float32)
        labels = np.full((len(prompts), width), -1)
        for row, (on, off) in enumerate(prompts):
            both = np.concatenate([on, off])
            points[row, : len(both)] = both
            labels[row, : len(both)] = np.repeat([1, 0], [len(on), len(off)])
        logits, score = self._decode(embedding, points, labels)
        found = {}
        for row, (k, about) in enumerate(prompted.items()):
            rated = [
                PredictedMask(one, agreement(one > 0, about) * float(np.clip(rate, 0, 1)) ** 0.25)
                for one, rate in zip(logits[row], score[row], strict=True)
            ]
            found[k] = max(rated, key=lambda mask: mask.agreement)
        return found

    def _each(self, embedding: Any, prompted: Mapping[int, PromptPoints], pixels: int) -> dict[int, PredictedMask]:
        """A prompt per point; masks averaged with visibility and score as weight, those unlike the mean dropped.

        Memory holds a block of prompts and one mask per object, whatever the number of points.
        """
        rows = [(k, n) for k, about in prompted.items() for n in range(len(about.on))]
        size = max(1, BLOCK // pixels)
        mean = {k: _WeightedMean() for k in prompted}
        votes: dict[int, list[UInt8]] = {k: [] for k in prompted}  # packed: one bit per pixel
        for k, n, vote, score in self._votes(embedding, prompted, rows, size):
            mean[k].add(vote, prompted[k].weights[n] * score)
            votes[k].append(np.packbits(vote > 0.5))
        shares = {k: one.value() for k, one in mean.items()}
        again: list[tuple[int, int]] = []
        for k, share in shares.items():
            consensus = np.packbits(share > 0.5)
            agree = [n for n, vote in enumerate(votes[k]) if _bits_iou(vote, consensus) > 0.5]
            if 0 < len(agree) < len(votes[k]):
                again += [(k, n) for n in agree]
        mean = {k: _WeightedMean() for k, _ in again}
        for k, n, vote, score in self._votes(embedding, prompted, again, size):
            mean[k].add(vote, prompted[k].weights[n] * score)
        found = {}
        for k, share in (shares | {k: one.value() for k, one in mean.items()}).items():
            logits = np.log(np.clip(share, 1e-3, 1 - 1e-3) / (1 - np.clip(share, 1e-3, 1 - 1e-3)))
            found[k] = PredictedMask(logits.astype(np.float32), agreement(share > 0.5, prompted[k]))
        return found

    def _votes(
        self, embedding: Any, prompted: Mapping[int, PromptPoints], rows: Sequence[tuple[int, int]], size: int
    ) -> Iterator[tuple[int, int, FloatArray, float]]:
        """(object, point, its best candidate's probabilities [H, W], score) of each point, `size` at once."""
        for part in blocks(len(rows), size):
            points = np.stack([prompted[k].on[n] for k, n in rows[part]])[:, None].astype(np.float32)
            logits, score = self._decode(embedding, points, np.ones(points.shape[:2], np.int64))
            for (k, n), candidates, scores in zip(rows[part], logits, score, strict=True):
                best = int(np.argmax([agreement(one > 0, prompted[k]) for one in candidates]))
                yield k, n, 1 / (1 + np.exp(-np.clip(candidates[best], -30, 30))), scores[best]

    def _decode(self, embedding: Any, points: FloatArray, labels: IntArray) -> tuple[FloatArray, FloatArray]:
        """Logits [P, M, H, W] and scores [P, M] of all candidates: points [P, K, 2], labels [P, K]."""
        device = self.segmenter.device
        prompt = torch.from_numpy(points).to(device), torch.from_numpy(labels).to(device)
        logits, score = (x[:, None] for x in self.segmenter.decode(embedding, *prompt))
        if isinstance(self.segmenter, PromptedSegmenter):
            more, rates = self.segmenter.candidates(embedding, *prompt)
            logits, score = torch.cat([logits, more], 1), torch.cat([score, rates], 1)
        return logits.float().cpu().numpy(), score.float().cpu().numpy()


class _WeightedMean:
    """The mean of maps [H, W], each with a weight."""

    def __init__(self) -> None:
        self._total: FloatArray | float = 0.0
        self._weight = 0.0

    def add(self, values: FloatArray, weight: float) -> None:
        weight += 1e-6
        self._total, self._weight = self._total + weight * values, self._weight + weight

    def value(self) -> FloatArray:
        return np.asarray(self._total / self._weight)


def agreement(mask: BoolArray, about: PromptPoints) -> float:
    """In [0, 1]: how far a mask [H, W] holds an object's points, excludes others, and overlaps the propagated mask."""
    if not mask.any():
        return 0.0
    on = float(np.average(ids_at(mask, about.on), weights=about.weights)) if len(about.on) else 0.5
    off = 1 - float(ids_at(mask, about.off).mean()) if len(about.off) else 1.0
    alike = 0.5 if about.propagated is None else _iou(mask, about.propagated)
    return on * off * alike**0.5


def _iou(a: BoolArray, b: BoolArray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def _bits_iou(a: UInt8, b: UInt8) -> float:
    """IoU of two packed masks."""
    return float(np.unpackbits(a & b).sum() / max(1, np.unpackbits(a | b).sum()))


def _spread(xy: FloatArray) -> FloatArray:
    """At most `PROMPT` of xy [N, 2]: the one in the middle, then always the one farthest from those taken."""
    chosen = [int(((xy - np.median(xy, 0)) ** 2).sum(1).argmin())]
    while len(chosen) < min(PROMPT, len(xy)):
        chosen.append(int(((xy[:, None] - xy[chosen]) ** 2).sum(-1).min(1).argmax()))
    return xy[chosen]


def _nearest(off: FloatArray, on: FloatArray) -> FloatArray:
    """At most `PROMPT` of `off` [M, 2], those nearest to any of `on` [N, 2]."""
    if not len(off):
        return off
    return off[np.argsort(((off[:, None] - on) ** 2).sum(-1).min(1), kind="stable")[:PROMPT]]


def shrunk(logits: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Logits [H, W] at the size (h, w) of the cut."""
    if logits.shape == size:
        return logits
    return np.asarray(cv2.resize(np.clip(logits, -8, 8), (size[1], size[0]), interpolation=cv2.INTER_AREA))
