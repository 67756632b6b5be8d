"""What a user points out: first masks and clicks, checked, and clicks turned into masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trackime.arrays import BoolArray, Float32, IntArray, UInt8
from trackime.errors import InputError, ShapeError
from trackime.geometry import to_torch
from trackime.segmenters import PointSegmenter
from trackime.types import Queries, VideoInfo

from ..run import LAST_ID
from .queries import object_ids


class Prompts:
    """All prompts of a video.

    Args:
        info: of the video.
        masks: uint8 [H, W] ids by frame: 0 background, 255 void; or None.
        points: clicks, their instance the object (-1: object 1), or None.
        labels: [N] of the clicks: 1 on the object, 0 off it; None: all on.

    Raises:
        InputError: no object at all, clicks or masks outside the video, an id beyond 254, an object with clicks off it
            alone.
        ShapeError: masks of another size than the frames', labels of another number than the clicks.
    """

    def __init__(
        self,
        info: VideoInfo,
        masks: Mapping[int, npt.NDArray[Any]] | None,
        points: Queries | None,
        labels: npt.ArrayLike | None = None,
    ) -> None:
        self.masks = _check_masks(info, masks or {})
        points = Queries(np.zeros((0, 3))) if points is None else points
        points.check(info)
        self.labels: IntArray = np.ones(len(points), np.int64) if labels is None else np.asarray(labels)
        if self.labels.shape != (len(points),):
            raise ShapeError("labels", f"[{len(points)}] (one a click)", self.labels.shape)
        if not np.isin(self.labels, (0, 1)).all():
            raise InputError(f"labels: expected 1 (on the object) or 0 (off it), got {np.unique(self.labels).tolist()}")
        self.points = Queries(points.xyt, np.where(points.instance < 0, 1, points.instance))
        bad = self.points.instance[(self.points.instance < 1) | (self.points.instance > LAST_ID)]
        if len(bad):
            raise InputError(f"object id of a click: expected 1 .. {LAST_ID}, got {int(bad[0])}")
        clicked = self.points.instance[self.labels == 1].tolist()
        self.first: dict[int, int] = {}
        for t in sorted(self.masks):
            for k in object_ids(self.masks[t]):
                self.first.setdefault(k, t)
        for k, t in sorted(zip(clicked, self.points.t[self.labels == 1].tolist(), strict=True)):
            self.first[k] = min(t, self.first.get(k, t))
        lost = sorted(set(self.points.instance.tolist()) - set(self.first))
        if lost:
            raise InputError(f"object {lost[0]}: expected a mask or a click on it, got clicks off it alone")
        if not self.first:
            raise InputError("objects: expected a mask with at least one object, or a click, got none")

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of all objects, ascending."""
        return tuple(sorted(self.first))

    @property
    def frames(self) -> list[int]:
        """Frames with a mask or a click, ascending."""
        return sorted({*self.masks, *self.points.t.tolist()})

    def stated(self) -> dict[int, list[int]]:
        """The frames whose masks prompts state, by object."""
        known: dict[int, set[int]] = {k: set() for k in self.objects}
        for t, ids in self.masks.items():
            for k in object_ids(ids):
                known[k].add(t)
        for t, k in zip(self.points.t.tolist(), self.points.instance.tolist(), strict=True):
            known[k].add(t)
        return {k: sorted(frames) for k, frames in known.items()}

    def clicks(self, t: int, identity: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Clicks [K, 2] of frame t that concern an object, and their labels [K]; clicks on others are off this one."""
        here = self.points.t == t
        own = self.points.instance == identity
        use = here & (own | (self.labels == 1))
        return self.points.xy[use], np.where(own, self.labels, 0)[use]

    def at(
        self, t: int, frame: UInt8, segmenter: PointSegmenter, known: Mapping[int, BoolArray]
    ) -> dict[int, BoolArray]:
        """Masks bool [H, W] that frame t's prompts state, by object.

        Args:
            t: the frame.
            frame: uint8 [H, W, 3].
            segmenter: what turns clicks into masks.
            known: what the objects were thought to be before the prompts; clicks mend it.
        """
        stated: dict[int, BoolArray] = {}
        ids = self.masks.get(t)
        embedding = None
        for k in self.objects:
            xy, labels = self.clicks(t, k)
            own = bool(((self.points.t == t) & (self.points.instance == k)).any())
            if ids is not None and (ids == k).any():
                stated[k] = ids == k
            elif own:
                if embedding is None:
                    embedding = segmenter.encode(to_torch(frame[None], segmenter.device)[0])
                stated[k] = mask_of_clicks(segmenter, embedding, xy, labels, known.get(k))
        taken = np.zeros(frame.shape[:2], bool)
        for k in stated:
            stated[k] = stated[k] & ~taken
            taken |= stated[k]
        return stated


def _check_masks(info: VideoInfo, masks: Mapping[int, npt.NDArray[Any]]) -> dict[int, UInt8]:
    checked = {}
    for t, ids in masks.items():
        ids = np.asarray(ids)
        if not 0 <= t < info.frames:
            raise InputError(f"mask of frame {t}: expected a frame in 0 .. {info.frames - 1}")
        if ids.shape != (info.height, info.width):
            raise ShapeError(f"mask of frame {t}", f"[{info.height}, {info.width}]", ids.shape)
        if ids.dtype == np.bool_ or (np.issubdtype(ids.dtype, np.integer) and ids.min() >= 0 and ids.max() <= 255):
            checked[int(t)] = ids.astype(np.uint8)
        else:
            raise InputError(f"mask of frame {t}: expected whole ids of 0 .. 255, got {ids.dtype}")
    return checked


def mask_of_clicks(
    segmenter: PointSegmenter,
    embedding: Any,
    xy: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    known: BoolArray | None = None,
) -> BoolArray:
    """The mask bool [H, W] of some clicks; a disc around each where the segmenter finds nothing.

    Args:
        segmenter: what turns clicks into masks.
        embedding: of the frame.
        xy: [K, 2] the clicks.
        labels: [K], 1 on the object, 0 off it.
        known: what the object was thought to be before.
    """
    prior: Tensor | None = None
    if known is not None and known.any():
        # Mild: a click is meant to change what was known.
        doubted = np.where(known, 2.0, -2.0).astype(np.float32) * _trust(known, xy, labels)
        prior = torch.from_numpy(doubted)[None].to(segmenter.device)
    points = torch.from_numpy(np.ascontiguousarray(xy, np.float32))[None].to(segmenter.device)
    kinds = torch.from_numpy(np.ascontiguousarray(labels, np.int64))[None].to(segmenter.device)
    logits, _ = segmenter.decode(embedding, points, kinds, prior=prior)
    mask = (logits[0] > 0).cpu().numpy()
    if not mask.any():
        disc = np.zeros(mask.shape, np.uint8)
        for x, y in np.floor(xy[labels == 1]).astype(int).tolist():
            cv2.circle(disc, (x, y), max(2, round(0.02 * min(mask.shape))), 1, -1)
        mask = disc > 0
    return np.asarray(mask)


def _trust(known: BoolArray, xy: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Float32:
    """How far a known mask [H, W] is still to be believed: 0 at clicks that contradict it, 1 away from them.

    A click in the depth of a wrong region doubts more than one beside its border.
    """
    h, w = known.shape
    trust = np.ones(known.shape, np.float32)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) + np.float32(0.5)
    for (px, py), on in zip(xy.tolist(), (labels == 1).tolist(), strict=True):
        row, column = min(int(py), h - 1), min(int(px), w - 1)
        if known[row, column] != on:
            same = (known if not on else ~known).astype(np.uint8)
            depth = float(cv2.distanceTransform(np.pad(same, 1), cv2.DIST_L2, cv2.DIST_MASK_5)[row + 1, column + 1])
            reach = min(1.5 * depth, 0.25 * max(h, w)) + 2
            trust *= 1 - np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * reach**2))
    return trust
