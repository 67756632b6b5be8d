"""Loss of accuracy by step of object segmentation: true tracks with our cut, our tracks with a true cut, and both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.report import Report, status
from benchmarks.vos import Bench, cells
from benchmarks.vos_cases import Case
from trackime.errors import InputError
from trackime.metrics import ObjectScores, evaluate_masks, summary
from trackime.segmenters import PointSegmenter
from trackime.types import Tracks
from trackime_apps.vos import BACKGROUND


class TrueCut(PointSegmenter):
    """Knows the true masks of a video: a prompt gets the object that most of its points on it lie on, or nothing."""

    name = "true masks"

    def __init__(self, case: Case) -> None:
        frames = case.video.read(0, len(case.video))
        self._known = {frame.tobytes(): ids for frame, ids in zip(frames, case.truth, strict=True)}

    def encode(self, frame: Tensor) -> Any:
        """The true ids [H, W] of a frame of the video."""
        return self._known[(frame.permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous().numpy().tobytes()]

    def decode(
        self, embedding: Any, points: Tensor, labels: Tensor, boxes: Tensor | None = None, prior: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `PointSegmenter.decode`."""
        logits = []
        for xy, kind in zip(points.numpy(), labels.numpy(), strict=True):
            x, y = np.floor(xy[kind == 1]).astype(int).clip(0, np.array(embedding.shape[::-1]) - 1).T
            k = np.bincount(embedding[y, x]).argmax()
            logits.append(np.where((embedding == k) & (k != BACKGROUND), 6.0, -6.0))
        return torch.from_numpy(np.stack(logits)).float(), torch.ones(len(points))


def right_alone(tracks: Tracks, case: Case) -> Tracks:
    """The tracks with every point hidden in the frames in which it is off the object it was placed on."""
    visibility = tracks.visibility.copy()
    height, width = case.first.shape
    for t in range(len(case.truth)):
        x, y = np.floor(tracks.xy[:, t]).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        on = case.truth[t][y.clip(0, height - 1), x.clip(0, width - 1)]
        visibility[~inside | (on != tracks.instance), t] = 0
    return Tracks(tracks.xy, visibility, tracks.queries, tracks.video)


def oracles(report: Report, cases: Iterable[Case], bench: Bench) -> None:
    """Means over objects with some of the steps replaced by the truth; tracks are true where a case knows them.

    "wrong points hidden" are our tracks while they lie on the object they were placed on. With true tracks no new
    points are added, as those would be tracked.
    """
    rows: dict[str, list[ObjectScores]] = {}
    for case in cases:
        status(case.name)
        masks, tracks = bench.segment(case, bench.config, None)
        still = replace(bench.config, reseed=0)
        truth = TrueCut(case)
        made = {
            "unchanged": masks,
            "wrong points hidden": bench.segment(case, still, right_alone(tracks, case))[0],
            "our tracks, true masks": bench.segment(case, bench.config, tracks, truth)[0],
        }
        if case.track is not None:
            known = case.track(tracks.queries)
            known = Tracks(known.xy, known.visibility, tracks.queries, tracks.video)
            made["true tracks, our masks"] = bench.segment(case, still, known)[0]
            made["true tracks, true masks"] = bench.segment(case, still, known, truth)[0]
        for name, found in made.items():
            rows.setdefault(name, []).extend(evaluate_masks(found, case.truth, case.ids))
    if not rows:
        raise InputError("vos: expected at least one sequence with an object in its first frame, got none")
    for name, scores in rows.items():
        report.add(steps=name, objects=len(scores), **cells("", summary(scores)))
