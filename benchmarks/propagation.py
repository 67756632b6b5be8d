"""`python -m benchmarks.propagation`: what each idea of the propagation brings, on composites and worlds.

Tracks are made once a film and shared by all rows. Columns: J&F of composites' objects that pass behind a pillar, of
those that turn, and of worlds; J after an object's return; share of hidden frames with a mask; the area under the
curve of confidence for IoU > 0.5, hidden frames counting as wrong; processor seconds a frame of the masks.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from benchmarks.composites import Film, composites, worlds
from benchmarks.report import Report, status
from trackime import trackers
from trackime.segmenters import PointSegmenter
from trackime.types import Tracks
from trackime_apps.vos.config import VosConfig
from trackime_apps.vos.metrics import evaluate, region
from trackime_apps.vos.run import segment

ROWS: dict[str, dict[str, Any]] = {
    "all": {},
    "no new points": {"reseed": 0},
    "no motion": {"motion": 0.0},
    "no flow": {"flow": False, "motion": 0.0},
    "no colours": {"colour": 0.0},
    "no seeds": {"seeds": 0.0},
}


class Oracle(PointSegmenter):
    """Knows the true masks of a film whose frames it is shown: a prompt gets what most of its points lie on."""

    name = "oracle"

    def __init__(self, film: Film) -> None:
        self._known = {frame.tobytes(): ids for frame, ids in zip(film.frames, film.masks, strict=True)}

    def encode(self, frame: Tensor) -> Any:
        """The frame's true ids [H, W]."""
        return self._known[(frame.permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous().numpy().tobytes()]

    def decode(
        self, embedding: Any, points: Tensor, labels: Tensor, boxes: Tensor | None = None, prior: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `PointSegmenter.decode`."""
        logits = []
        for xy, kind in zip(points.numpy(), labels.numpy(), strict=True):
            x, y = np.floor(xy[kind == 1]).astype(int).clip(0, np.array(embedding.shape[::-1]) - 1).T
            logits.append(np.where(embedding == np.bincount(embedding[y, x]).argmax(), 6.0, -6.0))
        return torch.from_numpy(np.stack(logits)).float(), torch.ones(len(points))


def area_under_curve(confidence: Iterable[float], right: Iterable[bool]) -> float:
    """Chance that a right mask has more confidence than a wrong one; NaN where one of the kinds is missing."""
    values, good = np.array(list(confidence)), np.array(list(right), bool)
    n, m = int(good.sum()), int((~good).sum())
    return float((rankdata(values)[good].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


def measure(films: Mapping[str, tuple[Film, Tracks]], config: VosConfig, tracker: Any, oracle: bool) -> dict[str, Any]:
    """One row of the table."""
    scores: dict[str, list[float]] = {"passing": [], "turning": [], "worlds": []}
    confidence, right, back, hidden = [], [], [], []
    start, frames = time.process_time(), 0
    for name, (film, tracks) in films.items():
        status(name)
        how: dict[str, Any] = {"segmenter": Oracle(film)} if oracle else {}
        made = segment(
            film.frames, masks={0: film.masks[0]}, tracks=tracks, tracker=tracker, config=config, device="cpu", **how
        )
        ids = np.stack([frame.ids for frame in made])
        frames += len(ids)
        for index, score in enumerate(evaluate(ids, film.masks)):
            kind = ("passing", "turning")[index] if name.startswith("composite") else "worlds"
            scores[kind].append(50 * (score.region_statistics.mean + score.boundary_statistics.mean))
            mine, truth = ids == score.id, film.masks == score.id
            empty, iou = ~truth.any((1, 2)), region(mine, truth)
            if empty.any():
                back += iou[np.flatnonzero(empty)[-1] + 2 : -1].tolist()
                hidden += mine[empty].any((1, 2)).tolist()
            confidence += made.confidence[1:, index].tolist()
            right += ((iou > 0.5) & ~empty)[1:].tolist()
    row: dict[str, Any] = {kind: float(np.mean(values)) if values else float("nan") for kind, values in scores.items()}
    row["after return"] = 100 * float(np.mean(back)) if back else float("nan")
    row["shown hidden"] = float(np.mean(hidden)) if hidden else float("nan")
    row["AUC"] = area_under_curve(confidence, right)
    return {**row, "seconds a frame": (time.process_time() - start) / frames}


@click.command()
@click.option("--clips", required=True, type=click.Path(exists=True, file_okay=False), help="folder of mp4 videos")
@click.option("--sprites", required=True, type=click.Path(exists=True, file_okay=False), help="folders of RGBA webp")
@click.option("--count", default=6, show_default=True, help="composites")
@click.option("--worlds", "made", default=4, show_default=True, help="procedural worlds")
@click.option("--frames", default=40, show_default=True)
@click.option("--side", default=480, show_default=True, help="of the frames the cut sees")
@click.option("--json", "json_path", type=click.Path(dir_okay=False))
def main(clips: str, sprites: str, count: int, made: int, frames: int, side: int, json_path: str | None) -> None:
    """The ablation of object segmentation, and what true tracks and true masks would bring."""
    tracker = trackers.create("correlation")
    report = Report(f"propagation, {count} composites, {made} worlds, {frames} frames", "cpu")
    own: dict[str, tuple[Film, Tracks]] = {}
    true: dict[str, tuple[Film, Tracks]] = {}
    films = itertools.chain(composites(Path(clips), Path(sprites), count, frames=frames), worlds(made, frames=frames))
    for film in films:
        status(f"tracks of {film.name}")
        tracks = segment(film.frames, masks={0: film.masks[0]}, tracker=tracker, device="cpu").tracks
        own[film.name] = film, tracks
        known = film.truth(tracks.queries)
        true[film.name] = film, Tracks(known.xy, known.visibility, tracks.queries, tracks.video)
    for name, changes in ROWS.items():
        report.add(row=name, **measure(own, VosConfig(side=side, **changes), tracker, False))
    lone = VosConfig(side=side, reseed=0)
    report.add(row="true tracks", **measure(true, lone, None, False))
    report.add(row="true masks", **measure(own, VosConfig(side=side), tracker, True))
    report.add(row="true tracks and masks", **measure(true, lone, None, True))
    report.show()
    report.save(json_path)


if __name__ == "__main__":
    main()
