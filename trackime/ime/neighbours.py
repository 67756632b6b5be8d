"""Semantic neighbours of a query: points of its mask in the query frame, which move with it.

InstaTAP section 3.3: segment the frame at the query (eq. 2), draw points of the mask by its confidence, without
replacement. Queries whose masks are one instance may share neighbours (`windows="instance"`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from trackime.arrays import BoolArray, FloatArray, IntArray, UInt8, ids_at
from trackime.geometry import to_torch
from trackime.ime._context import RunContext
from trackime.ime.config import ImeConfig
from trackime.types import Queries

_SAME_INSTANCE = 0.5
"""Two queries share an instance when each lies in the other's mask and the masks' IoU exceeds this."""

_DECODE = 16
"""Prompts decoded at once: bounds the memory that masks take."""


@dataclass(eq=False)
class Instance:
    """Queries that move together, and the points that show how.

    Attributes:
        t: their query frame.
        members: int [M], rows of the queries.
        points: float32 [S, 2], sampled neighbours in frame t, without the queries themselves.
        confidence: uint8 [H, W], the mask's confidence times 255; None where it is not needed again.
    """

    t: int
    members: IntArray
    points: FloatArray
    confidence: UInt8 | None = field(default=None, repr=False)


def find_instances(context: RunContext, queries: Queries, masks: Mapping[int, UInt8] | None = None) -> list[Instance]:
    """Group queries into instances and draw each one's neighbours.

    With `config.windows == "query"` every query is an instance of its own, as published. The order of the
    queries changes nothing: they are visited by position, and each draw is seeded by the position it is for.

    Args:
        context: frames are read at query frames only; the segmenter cuts the masks that `masks` does not give;
            config: neighbours, confidence, windows, seed.
        queries: the points.
        masks: known masks by frame, uint8 [H, W] of ids; a query on an id above 0 and below 255 belongs to it.

    Returns:
        Instances that cover every query once.
    """
    config = context.config
    wanted = config.neighbours > 1 or config.windows == "instance"
    instances: list[Instance] = []
    done = 0
    for t in np.unique(queries.t).tolist():
        rows = np.flatnonzero(queries.t == t)
        rows = rows[np.lexsort((queries.xy[rows, 0], queries.xy[rows, 1]))]
        if not wanted:
            instances += [Instance(t, np.array([row]), np.zeros((0, 2), np.float32)) for row in rows]
            continue
        frame = context.video.read(t, t + 1)[0]
        groups: list[_OpenInstance] = []
        cut, last, own = 0, None, np.zeros((0, 0), bool)
        for batch_rows, confidences in _masks(context, frame, queries, rows, masks.get(t) if masks else None):
            for row, confidence in zip(batch_rows, confidences, strict=True):
                if config.windows == "query":  # nobody can join
                    instances.append(_instance(row, confidence, queries, t, config))
                    continue
                if confidence is not last:  # queries that share a mask come one after the other
                    cut, last, own = cut + 1, confidence, confidence >= config.confidence
                group = _joined(row, cut, own, groups, queries)
                if group is None:
                    begun = _instance(row, confidence, queries, t, config)
                    groups.append(_OpenInstance([row], cut, np.packbits(own), begun))
                else:
                    group.members.append(row)
            done += len(batch_rows)
            context.progress("neighbours", done, len(queries))
        for group in groups:
            group.instance.members = np.array(group.members)
            instances.append(group.instance)
    return instances


@dataclass(eq=False)
class _OpenInstance:
    """An instance that further queries of its frame may still join. A bit a pixel: of 4K there may be hundreds."""

    members: list[int]
    cut: int  # which of the frame's masks it is; queries of one mask are one instance
    mask: UInt8  # uint8, packed bits of [H, W]
    instance: Instance


def _instance(row: int, confidence: FloatArray, queries: Queries, t: int, config: ImeConfig) -> Instance:
    """The instance that a query begins."""
    points = draw_neighbours(confidence, queries.xy[row], t, config)
    stored = np.round(confidence * 255).astype(np.uint8) if config.resample else None
    return Instance(t, np.array([row]), points, stored)


def draw_neighbours(confidence: FloatArray, query: FloatArray, t: int, config: ImeConfig) -> FloatArray:
    """Up to `config.neighbours - 1` pixel centres of a mask, by confidence, without replacement.

    Multinomial sampling without replacement is the largest of log p plus Gumbel noise (Efraimidis and
    Spirakis 2006 in its logarithmic form). Seeded by `config.seed` and the query, so that neither the order nor
    the number of other queries changes a draw.

    Args:
        confidence: [H, W] in [0, 1].
        query: [2] the point the mask was cut for.
        t: its frame.
        config: neighbours, confidence, seed.

    Returns:
        float32 [S, 2], fewer where the mask has fewer pixels.
    """
    y, x = np.nonzero(confidence >= config.confidence)
    own = (x == int(query[0])) & (y == int(query[1]))  # the query is neighbour 0 already
    x, y = x[~own], y[~own]
    count = min(config.neighbours - 1, len(x))
    if count < 1:
        return np.zeros((0, 2), np.float32)
    bits = np.asarray(query, np.float32).view(np.uint32)
    rng = np.random.default_rng([config.seed, t, int(bits[0]), int(bits[1])])
    score = np.log(confidence[y, x].astype(np.float64)) + rng.gumbel(size=len(x))
    chosen = np.sort(np.argpartition(-score, count - 1)[:count])
    return np.stack([x[chosen], y[chosen]], 1).astype(np.float32) + np.float32(0.5)


def _joined(row: int, cut: int, own: BoolArray, groups: list[_OpenInstance], queries: Queries) -> _OpenInstance | None:
    """The group a query belongs to: of the same cut, or each in the other's mask and IoU above `_SAME_INSTANCE`."""
    for group in groups:
        first = group.members[0]
        if queries.instance[row] != queries.instance[first]:
            continue  # separate objects, says the caller
        if group.cut == cut:
            return group
        if not ids_at(own, queries.xy[first]):
            continue
        theirs = np.unpackbits(group.mask, count=own.size).reshape(own.shape).view(bool)
        mutual = bool(ids_at(theirs, queries.xy[row]))
        if mutual and (own & theirs).sum() > _SAME_INSTANCE * (own | theirs).sum():
            return group
    return None


def _masks(
    context: RunContext, frame: UInt8, queries: Queries, rows: IntArray, ids: UInt8 | None
) -> Iterator[tuple[list[int], list[FloatArray]]]:
    """(rows, confidences) in batches: given masks (`ids` [H, W]) first, then cut ones."""
    left = rows
    if ids is not None:
        for value in np.unique(ids[(ids > 0) & (ids < 255)]).tolist():
            on = ids_at(ids, queries.xy[left]) == value
            mine, left = left[on], left[~on]
            confidence = (ids == value).astype(np.float32)
            yield mine.tolist(), [confidence] * len(mine)
    if len(left):
        segmenter = context.segmenter
        embedding = segmenter.encode(to_torch(frame[None], segmenter.device)[0])
        yield from point_masks(context, embedding, queries.xy, left)


def point_masks(
    context: RunContext, embedding: Any, xy: FloatArray, rows: IntArray
) -> Iterator[tuple[list[int], list[FloatArray]]]:
    """Confidence masks of points of one frame (InstaTAP eq. 2).

    Where the segmenter's masks are costly (`shares_masks`), a point inside a mask cut before reuses it: the
    same array, so that sharing shows by identity.

    Args:
        context: segmenter; config: confidence, at least which means inside a mask.
        embedding: the segmenter's, of the frame.
        xy: [N, 2] pixels.
        rows: which of them.

    Yields:
        (rows, list of float32 [H, W]) until all rows had their turn.
    """
    segmenter, left = context.segmenter, rows
    while len(left):
        batch = left[:1] if segmenter.shares_masks else left[:_DECODE]
        points = torch.from_numpy(np.array(xy[batch, None])).to(segmenter.device)  # [P, 1, 2]
        with torch.inference_mode():
            logits, _ = segmenter.decode(embedding, points, torch.ones(points.shape[:2], device=points.device))
            confidences = list(torch.sigmoid(logits.float()).cpu().numpy())
        context.operations.masks_cut += len(batch)
        left = left[len(batch) :]
        yield batch.tolist(), confidences
        if segmenter.shares_masks:
            on = ids_at(confidences[0] >= context.config.confidence, xy[left])
            mine, left = left[on], left[~on]
            yield mine.tolist(), [confidences[0]] * len(mine)
