"""Object segmentation from the first mask or from clicks, against static masks and masks propagated by flow."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.report import Report, status
from benchmarks.vos_cases import Case
from trackime import segmenters, trackers
from trackime.errors import InputError
from trackime.imaging import DenseFlow
from trackime.ime import ImeConfig
from trackime.metrics import ObjectScores, evaluate_masks, summary
from trackime.segmenters import PointSegmenter
from trackime.types import Queries, Tracks
from trackime.video import Video, write_mask
from trackime_apps.vos import Prompts, VosConfig, sample_mask, segment

Masks = list[np.ndarray]

FULL = "full"
NO_TRACKS = "no tracks"

ABLATIONS: dict[str, dict[str, Any]] = {
    "no flow": {"flow": False},
    "no negatives": {"negatives": 0},
    "no colours": {"colour": 0.0},
    "no propagated shape": {"shape": 0.0},
    "no seeds": {"seeds": 0.0},
    "no smoothing": {"smoothing": 0.0},
    "no motion": {"motion": 0.0},
    "no new points": {"reseed": 0},
    "points by k-medoids": {"strategy": "k-medoids"},
    "points on corners": {"strategy": "corners"},
    "points at random": {"strategy": "random"},
}
"""Name to the switches that differ from the full method; a row whose switch the config does not have is left out."""

SAMPLING = ("points", "strategy", "negatives", "ring", "seed")
"""The switches that decide which points are tracked from the first."""

UNTRACKED = {"points": 0, "negatives": 0, "reseed": 0}
"""The switches that put points anywhere, off."""


def changed(base: VosConfig, text: str) -> VosConfig:
    """`base` with switches as typed: ``NAME=VALUE[,NAME=VALUE]...``.

    Raises:
        InputError: no such switch, or a value it does not take.
    """
    known = {item.name: getattr(base, item.name) for item in fields(base)}
    changes: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in known or not value:
            raise InputError(f"{part.strip()!r}: expected NAME=VALUE with a name of {', '.join(known)}")
        kind = type(known[name])
        try:
            if kind is bool:
                changes[name] = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}[value]
            else:
                changes[name] = kind(value)
        except (KeyError, ValueError):
            raise InputError(f"{name}: expected a value such as {known[name]!r}, got {value!r}") from None
    return replace(base, **changes)


def variants(base: VosConfig, more: Sequence[str] = ()) -> dict[str, VosConfig]:
    """The full method, an ablation of each part, the method without tracks, and further variants as typed."""
    known = {item.name for item in fields(base)}
    rows = {FULL: base, NO_TRACKS: base}
    for name, changes in ABLATIONS.items():
        if changes.keys() <= known and any(getattr(base, key) != value for key, value in changes.items()):
            rows[name] = replace(base, **changes)
    return rows | {text: changed(base, text) for text in more}


@dataclass
class Bench:
    """The settings of a measurement.

    Attributes:
        tracker, segmenter: names.
        device: where.
        ime: switches of the tracking.
        config: switches of the segmentation.
        clicks: points an object that stand in for its first mask; 0: the mask.
        reuse: variants that track the same points share those tracks.
    """

    tracker: str
    segmenter: str
    device: str
    ime: ImeConfig
    config: VosConfig = field(default_factory=VosConfig)
    clicks: int = 0
    reuse: bool = False

    def __post_init__(self) -> None:
        self._follow = trackers.create(self.tracker, device=self.device)
        self._cut = segmenters.create(self.segmenter, device=self.device)
        self._kept: dict[Any, Tracks] = {}
        self._of: Case | None = None

    def run(self, case: Case, config: VosConfig, tracked: bool = True) -> tuple[Masks, float]:
        """Masks of every frame and the seconds they took; not `tracked`: nothing but flow, cut and first mask."""
        known, sampling = None, tuple(getattr(config, name) for name in SAMPLING)
        if self._of is not case:
            self._kept, self._of = {}, case
        if not tracked:
            count = len(case.video)
            config = replace(config, **{k: v for k, v in UNTRACKED.items() if hasattr(config, k)})
            known = Tracks(np.zeros((0, count, 2)), np.zeros((0, count)), Queries(np.zeros((0, 3))), case.video.info)
        elif self.reuse:
            known = self._kept.get(sampling)
        start = time.perf_counter()
        masks, tracks = self.segment(case, config, known)
        if tracked:
            self._kept[sampling] = tracks
        return masks, time.perf_counter() - start

    def segment(
        self, case: Case, config: VosConfig, tracks: Tracks | None, cut: PointSegmenter | None = None
    ) -> tuple[Masks, Tracks]:
        """Masks of every frame, and the tracks: those given, or made."""
        made = segment(
            case.video, self._prompts(case), tracks=tracks, tracker=self._follow, segmenter=cut or self._cut,
            config=config, ime=self.ime, device=self.device,
        )  # fmt: skip
        return list(made.ids), made.tracks

    def _prompts(self, case: Case) -> Prompts:
        """The prompts: the first mask, or clicks spread over each object of it."""
        if not self.clicks:
            return Prompts({0: case.first})
        rows, ids = [], []
        for k in case.ids:
            xy = np.floor(sample_mask(case.first == k, self.clicks, "k-medoids", seed=self.config.seed)) + 0.5
            rows += [(x, y, 0) for x, y in xy.tolist()]
            ids += [k] * len(xy)
        return Prompts(points=Queries(rows, np.array(ids)))


def table(report: Report, cases: Iterable[Case], bench: Bench, out: str | None = None) -> None:
    """Rows per sequence: J, F and J&F with recall and decay, J&F of three baselines, seconds per frame; last the mean.

    The baselines: the first mask, static; propagated by DIS flow alone; propagated by DIS with the same cut ("DIS +
    cut", the method without any tracks).

    Args:
        out: folder to keep masks in, or None.
    """
    kinds = ("", "static", "DIS", "DIS + cut")
    everyone: dict[str, list[ObjectScores]] = {kind: [] for kind in kinds}
    seconds = frames = 0.0
    for case in cases:
        status(case.name)
        masks, spent = bench.run(case, bench.config)
        seconds, frames = seconds + spent, frames + len(masks)
        if out:
            for name, mask in zip(case.video.info.names, masks, strict=True):
                write_mask(Path(out) / case.name / f"{name}.png", mask)
        others = ([case.first] * len(masks), by_flow(case.video, case.first), bench.run(case, bench.config, False)[0])
        row: dict[str, Any] = {"sequence": case.name, "objects": len(case.ids)}
        for kind, found in zip(kinds, (masks, *others), strict=True):
            scores = evaluate_masks(found, case.truth, case.ids)
            everyone[kind] += scores
            row |= cells(kind, summary(scores))
        report.add(**row, seconds_a_frame=spent / len(masks))
    if not everyone[""]:
        raise InputError("vos: expected at least one sequence with an object in its first frame, got none")
    mean: dict[str, Any] = {"sequence": "mean over objects", "objects": len(everyone[""])}
    for kind, scores in everyone.items():
        mean |= cells(kind, summary(scores))
    report.add(**mean, seconds_a_frame=seconds / frames)
    report.details["summary"] = {kind or "ours": summary(scores) for kind, scores in everyone.items()}


def ablation(report: Report, cases: Iterable[Case], bench: Bench, rows: dict[str, VosConfig]) -> None:
    """One row per variant: means over the objects of all cases, and the difference from the full method."""
    everyone: dict[str, list[ObjectScores]] = {name: [] for name in rows}
    seconds, frames = dict.fromkeys(rows, 0.0), 0
    details: dict[str, dict[str, float]] = {}
    for case in cases:
        frames += len(case.video)
        details[case.name] = {}
        for name, config in rows.items():
            status(f"{case.name}: {name}")
            masks, spent = bench.run(case, config, tracked=name != NO_TRACKS)
            scores = evaluate_masks(masks, case.truth, case.ids)
            everyone[name] += scores
            seconds[name] += spent
            details[case.name][name] = summary(scores)["J&F"]
    if not frames:
        raise InputError("vos: expected at least one sequence with an object in its first frame, got none")
    full = summary(everyone[FULL])["J&F"]
    for name, scores in everyone.items():
        means = summary(scores)
        report.add(
            variant=name, objects=len(scores), **cells("", means),
            difference=100 * (means["J&F"] - full), seconds_a_frame=seconds[name] / frames,
        )  # fmt: skip
    report.details["J&F by sequence"] = details


def cells(kind: str, scores: dict[str, float]) -> dict[str, float]:
    """Cells of a row in percent; a baseline of name `kind` has J&F alone."""
    if kind:
        return {f"J&F {kind}": 100 * scores["J&F"]}
    named = {"J&F": "J&F", "J": "J_mean", "J recall": "J_recall", "J decay": "J_decay"}
    named |= {"F": "F_mean", "F recall": "F_recall", "F decay": "F_decay"}
    return {short: 100 * scores[long] for short, long in named.items()}


def by_flow(video: Video, first: np.ndarray) -> Masks:
    """The first mask propagated from frame to frame by DIS optical flow (Kroeger et al. 2016) and nothing else."""
    flow = DenseFlow()
    y, x = np.mgrid[: first.shape[0], : first.shape[1]].astype(np.float32)
    masks, before = [first], cv2.cvtColor(video[0], cv2.COLOR_RGB2GRAY)
    for t in range(1, len(video)):
        now = cv2.cvtColor(video[t], cv2.COLOR_RGB2GRAY)
        back = flow(now, before)  # where each pixel of this frame was in the last
        masks.append(cv2.remap(masks[-1], x + back[..., 0], y + back[..., 1], cv2.INTER_NEAREST))
        before = now
    return masks
