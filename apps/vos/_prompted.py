"""Asking a segmenter for an object's mask with its tracked points, and judging its answers by what was tracked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from trackime.arrays import BoolArray, FloatArray, UInt8
from trackime.geometry import to_torch
from trackime.segmenters import PointSegmenter, PromptedSegmenter

from .config import VosConfig

PROMPT = 8
"""Points on an object, and as many off it, in a joint prompt: more confuse a network, they judge its answer instead."""

TRUST = 0.5
"""An answer of more agreement than this stands as it is, others are one more piece of evidence for the cut."""


@dataclass(frozen=True)
class Tracked:
    """What is known of an object before a segmenter is asked, pixels of the video.

    Attributes:
        on: [N, 2] its visible points.
        weights: [N] their visibility.
        off: [M, 2] visible points on something else.
        carried: bool [H, W] its mask carried from other frames; None: there is none.
    """

    on: FloatArray
    weights: FloatArray
    off: FloatArray
    carried: BoolArray | None


@dataclass(frozen=True)
class Answer:
    """A segmenter's mask of one object.

    Attributes:
        logits: float32 [H, W], above 0 on the object.
        agreement: in [0, 1], how far it agrees with what was tracked.
    """

    logits: FloatArray
    agreement: float


class Adviser:
    """A segmenter other than the cut, asked in every frame: one encoding, the prompts of all objects in one batch.

    Args:
        segmenter: any; of those of the SAM family all candidates are looked at, not only the one they rate highest.
        config: the switches.
    """

    def __init__(self, segmenter: PointSegmenter, config: VosConfig) -> None:
        self.segmenter, self.config = segmenter, config

    def ask(self, frame: UInt8, known: Mapping[int, Tracked]) -> dict[int, Answer]:
        """The answers [H, W] for objects of whose points any is visible.

        Args:
            frame: uint8 [H, W, 3].
            known: by object.
        """
        asked = {k: about for k, about in known.items() if len(about.on)}
        if not asked:
            return {}
        embedding = self.segmenter.encode(to_torch(frame[None], self.segmenter.device)[0])
        return (self._each if self.config.prompts == "each" else self._joint)(embedding, asked)

    def _joint(self, embedding: Any, asked: Mapping[int, Tracked]) -> dict[int, Answer]:
        """One prompt an object, of a few of its points; the answer that agrees best with all of them."""
        prompts = [(_spread(a.on), _nearest(a.off, a.on)) for a in asked.values()]
        width = max(len(on) + len(off) for on, off in prompts)
        points = np.zeros((len(prompts), width, 2), np.float32)
        labels = np.full((len(prompts), width), -1)
        for row, (on, off) in enumerate(prompts):
            both = np.concatenate([on, off])
            points[row, : len(both)] = both
            labels[row, : len(both)] = np.repeat([1, 0], [len(on), len(off)])
        logits, score = self._decode(embedding, points, labels)
        answers = {}
        for row, (k, about) in enumerate(asked.items()):
            rated = [
                Answer(one, agreement(one > 0, about) * float(np.clip(rate, 0, 1)) ** 0.25)
                for one, rate in zip(logits[row], score[row], strict=True)
            ]
            answers[k] = max(rated, key=lambda answer: answer.agreement)
        return answers

    def _decode(self, embedding: Any, points: FloatArray, labels: npt.NDArray) -> tuple[FloatArray, FloatArray]:
        """Logits [P, M, H, W] and scores [P, M] of all answers to prompts: points [P, K, 2], labels [P, K]."""
        device = self.segmenter.device
        prompt = torch.from_numpy(points).to(device), torch.from_numpy(labels).to(device)
        logits, score = (x[:, None] for x in self.segmenter.decode(embedding, *prompt))
        if isinstance(self.segmenter, PromptedSegmenter):
            more, rates = self.segmenter.candidates(embedding, *prompt)
            logits, score = torch.cat([logits, more], 1), torch.cat([score, rates], 1)
        return logits.float().cpu().numpy(), score.float().cpu().numpy()

    def _each(self, embedding: Any, asked: Mapping[int, Tracked]) -> dict[int, Answer]:
        """A prompt a point; masks voted with visibility and score as weight, those beside the consensus dropped."""
        points = np.concatenate([a.on for a in asked.values()])[:, None].astype(np.float32)
        logits, score = self._decode(embedding, points, np.ones(points.shape[:2], np.int64))
        answers, first = {}, 0
        for k, about in asked.items():
            rows = slice(first, first + len(about.on))
            first = rows.stop
            best = np.array([[agreement(m > 0, about) for m in each] for each in logits[rows]]).argmax(1)
            own = logits[rows][np.arange(len(best)), best]
            weights = about.weights * score[rows][np.arange(len(best)), best]
            votes = 1 / (1 + np.exp(-np.clip(own, -30, 30)))
            mean = np.average(votes, axis=0, weights=weights + 1e-6)
            agree = np.array([_iou(vote > 0.5, mean > 0.5) for vote in votes]) > 0.5
            if agree.any():
                mean = np.average(votes[agree], axis=0, weights=weights[agree] + 1e-6)
            share = np.clip(mean, 1e-3, 1 - 1e-3)
            answers[k] = Answer(np.log(share / (1 - share)).astype(np.float32), agreement(share > 0.5, about))
        return answers


def agreement(mask: BoolArray, about: Tracked) -> float:
    """In [0, 1]: how far a mask [H, W] holds an object's points, leaves others out, and looks like the carried mask."""
    if not mask.any():
        return 0.0
    on = float(np.average(_held(mask, about.on), weights=about.weights)) if len(about.on) else 0.5
    off = 1 - float(_held(mask, about.off).mean()) if len(about.off) else 1.0
    alike = 0.5 if about.carried is None else _iou(mask, about.carried)
    return on * off * alike**0.5


def _held(mask: BoolArray, xy: FloatArray) -> BoolArray:
    h, w = mask.shape
    at = np.floor(xy).astype(int)
    inside = (at >= 0).all(1) & (at[:, 0] < w) & (at[:, 1] < h)
    x, y = np.clip(at, 0, [w - 1, h - 1]).T
    return np.asarray(mask[y, x] & inside)


def _iou(a: BoolArray, b: BoolArray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


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


def small(logits: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Logits [H, W] at the size (h, w) of the cut."""
    if logits.shape == size:
        return logits
    return np.asarray(cv2.resize(np.clip(logits, -8, 8), (size[1], size[0]), interpolation=cv2.INTER_AREA))
