"""Masks from prompts: those given, and those a segmenter makes of clicks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from trackime.arrays import BoolArray, Float32, FloatArray, IntArray, UInt8, pixels_at
from trackime.geometry import to_torch
from trackime.segmenters import PointSegmenter

from .prompts import Prompts


def prompted_masks(
    prompts: Prompts, t: int, frame: UInt8, segmenter: PointSegmenter, known: Mapping[int, BoolArray]
) -> dict[int, BoolArray]:
    """Masks bool [H, W] that frame t's prompts give, by object; they do not overlap.

    Args:
        prompts: of the video.
        t: the frame.
        frame: uint8 [H, W, 3].
        segmenter: turns clicks into masks.
        known: masks of the objects before the prompts; clicks correct them.
    """
    found: dict[int, BoolArray] = {}
    ids, embedding = prompts.masks.get(t), None
    for k in prompts.prompted(t):
        if ids is not None and (ids == k).any():
            found[k] = ids == k
            continue
        if embedding is None:
            embedding = segmenter.encode(to_torch(frame[None], segmenter.device)[0])
        found[k] = mask_of_clicks(segmenter, embedding, *prompts.clicks(t, k), known.get(k))
    return disjoint(found)


def disjoint(masks: Mapping[int, BoolArray]) -> dict[int, BoolArray]:
    """The masks, each without the pixels of those before it."""
    found: dict[int, BoolArray] = {}
    taken: BoolArray | None = None
    for k, mask in masks.items():
        found[k] = mask if taken is None else mask & ~taken
        taken = mask if taken is None else taken | mask
    return found


def mask_of_clicks(
    segmenter: PointSegmenter,
    embedding: Any,
    xy: FloatArray,
    labels: IntArray,
    known: BoolArray | None = None,
) -> BoolArray:
    """The mask bool [H, W] of some clicks; a disc around each where the segmenter finds nothing.

    Args:
        segmenter: turns clicks into masks.
        embedding: of the frame.
        xy: [K, 2] the clicks.
        labels: [K], 1 on the object, 0 off it.
        known: the object's mask before the clicks; None: unknown.
    """
    prior: Tensor | None = None
    if known is not None and known.any():
        # Weak: a click is meant to change the known mask.
        doubted = np.where(known, 2.0, -2.0).astype(np.float32) * _trust(known, xy, labels)
        prior = torch.from_numpy(doubted)[None].to(segmenter.device)
    points = torch.from_numpy(np.ascontiguousarray(xy, np.float32))[None].to(segmenter.device)
    kinds = torch.from_numpy(np.ascontiguousarray(labels, np.int64))[None].to(segmenter.device)
    logits, _ = segmenter.decode(embedding, points, kinds, prior=prior)
    mask = (logits[0] > 0).cpu().numpy()
    if not mask.any():
        discs = np.zeros(mask.shape, np.uint8)
        for x, y in pixels_at(xy[labels == 1], mask.shape).tolist():
            cv2.circle(discs, (x, y), max(2, round(0.02 * min(mask.shape))), 1, -1)
        mask = discs > 0
    return np.asarray(mask)


def _trust(known: BoolArray, xy: FloatArray, labels: IntArray) -> Float32:
    """Weight [H, W] of a known mask: 0 at clicks that contradict it, 1 away from them.

    A click deep inside a wrong region has a wider reach than one beside its border.
    """
    h, w = known.shape
    trust = np.ones(known.shape, np.float32)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) + np.float32(0.5)
    pixels = pixels_at(xy, known.shape).tolist()
    for (px, py), (column, row), on in zip(xy.tolist(), pixels, (labels == 1).tolist(), strict=True):
        if known[row, column] != on:
            same = (known if not on else ~known).astype(np.uint8)
            depth = float(cv2.distanceTransform(np.pad(same, 1), cv2.DIST_L2, cv2.DIST_MASK_5)[row + 1, column + 1])
            reach = min(1.5 * depth, 0.25 * max(h, w)) + 2
            trust *= 1 - np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * reach**2))
    return trust
