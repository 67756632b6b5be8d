"""Tables of the tracker: the ablation of the method, its switches, its cost, and real joints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np

from benchmarks.cases import Case
from benchmarks.report import Report, percent, status
from trackime import segmenters, trackers
from trackime.datasets import Sample
from trackime.imaging import DenseFlow
from trackime.ime import ImeConfig, TrackResult, run
from trackime.metrics import (
    BENCHMARK_SIZE,
    error_by_visibility,
    evaluate,
    flow_disagreement,
    found_again,
    in_mask,
    mean_scores,
    pck_t,
    survival,
    temporal_coherence,
    trajectory_error,
)
from trackime.types import Queries, Tracks
from trackime.video import open_video

SCORES = (
    ("J1", "jaccard_1"),
    ("d1", "pts_within_1"),
    ("AJ", "average_jaccard"),
    ("d_avg", "average_pts_within_thresh"),
    ("OA", "occlusion_accuracy"),
)
ROWS = {
    "none": "none",
    "im": "IM",
    "im_fusion": "IM + fusion",
    "im_clip": "IM + clip",
    "all": "all",
}
NATIVE = "lk"
"""The tracker whose full-frame pass at native resolution is a row of its own."""

Cases = Callable[[], Iterable[Case]]
_TrajectoryRow = tuple[ImeConfig, list[dict[str, float]], list[float]]
"""Config, scores and seconds of each case."""


def score(tracks: Tracks, case: Case) -> dict[str, float]:
    """TAP-Vid's measures, of the cells that the case knows."""
    return evaluate(tracks, case.truth, case.mode, case.known)


class Bench:
    """One tracker and segmenter on one set of cases."""

    def __init__(self, tracker: str, segmenter: str, device: str, base: ImeConfig, cases: Cases) -> None:
        self.name, self.device, self.base, self.cases = tracker, device, base, cases
        self.tracker = trackers.create(tracker, device=device)
        self.segmenter = segmenters.create(segmenter, device=device)

    def run(self, case: Case, config: ImeConfig) -> tuple[TrackResult, float]:
        """A run and its seconds."""
        start = time.perf_counter()
        result = run(case.video, case.truth.queries, self.tracker, self.segmenter, config)
        return result, time.perf_counter() - start

    def sweep(self, report: Report, label: str, configs: dict[str, ImeConfig]) -> None:
        """One row per config: mean scores over the cases, operations and seconds."""
        scores: dict[str, list[dict[str, float]]] = {name: [] for name in configs}
        cost: dict[str, list[tuple[int, float]]] = {name: [] for name in configs}
        for case in self.cases():
            for name, config in configs.items():
                status(f"{self.name}, {case.name}, {label} {name}")
                result, seconds = self.run(case, config)
                scores[name].append(score(result.tracks, case))
                cost[name].append((result.operations.frames_encoded, seconds))
        for name in configs:
            frames, seconds = np.mean(cost[name], 0)
            report.add(
                **{label: f"{self.name}: {name}"},
                **percent(mean_scores(scores[name]), SCORES),
                frames_encoded=int(frames),
                seconds=float(seconds),
            )
        report.details.setdefault("cases", {}).update({f"{self.name}: {n}": s for n, s in scores.items()})


def components(bench: Bench, report: Report, native: bool) -> None:
    """The published ablation from one run per case, and plain Lucas-Kanade at native resolution beside it."""
    scores: dict[str, list[dict[str, float]]] = {}
    plain = trackers.create(NATIVE)
    for case in bench.cases():
        status(f"{bench.name}, {case.name}")
        result, _ = bench.run(case, bench.base)
        rows = dict(result.rows)
        if native:
            status(f"{NATIVE} at native resolution, {case.name}")
            rows["native"] = run(
                case.video, case.truth.queries, plain, bench.segmenter, ImeConfig.plain(cuts=False)
            ).rows["none"]
        for name, (xy, visibility) in rows.items():
            tracks = Tracks(xy, visibility, case.truth.queries, case.truth.video)
            scores.setdefault(name, []).append(score(tracks, case))
    for name, values in scores.items():
        label = f"{NATIVE}, native resolution" if name == "native" else f"{bench.name}: {ROWS[name]}"
        report.add(components=label, **percent(mean_scores(values), SCORES))
    report.details.setdefault("cases", {})[bench.name] = scores


def overall(bench: Bench, report: Report) -> None:
    """The tracker alone and with TrackIME around it, hidden points scored apart.

    `visible_px` and `hidden_px` are mean errors in pixels of the video, `found` is the share of the `returns` (points
    that come back after 8 hidden frames or more) that are found again.
    """
    for label, config in _alone_and_around(bench):
        scores, found, seconds = [], [], 0.0
        for case in bench.cases():
            status(f"{label}, {case.name}")
            result, spent = bench.run(case, config)
            truth, tracks = case.truth, result.tracks
            apart = error_by_visibility(tracks, truth, case.known, case.mode)
            scores.append(score(tracks, case) | apart)
            scale = np.divide(BENCHMARK_SIZE[::-1], (truth.video.width, truth.video.height))
            error = np.linalg.norm((tracks.xy - truth.xy) * scale, axis=-1)
            found += found_again(truth.queries.t, truth.visible, tracks.visible, error, case.known)
            seconds += spent
        means = mean_scores(scores)
        report.add(
            tracker=label,
            **percent(means, SCORES),
            visible_px=means["visible"],
            hidden_px=means["occluded"],
            found=100 * float(np.mean(found)) if found else float("nan"),
            returns=len(found),
            seconds=seconds,
        )
        report.details.setdefault("cases", {})[label] = scores


def trajectories(bench: Bench, report: Report) -> None:
    """The tracker alone and with TrackIME around it, by measures of whole trajectories.

    Survival and MTE of PointOdyssey (percent; pixels at 256x256), TC (pixels at 256x256), and DAG against DIS optical
    flow between neighbouring frames (pixels of the video); see `trackime.metrics`.
    """
    rows: dict[str, _TrajectoryRow] = {label: (config, [], []) for label, config in _alone_and_around(bench)}
    for case in bench.cases():
        flow = DenseFlow()
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in case.video.read(0, len(case.video))]
        fields = [flow(before, after) for before, after in pairwise(grey)]
        for label, (config, scores, seconds) in rows.items():
            status(f"{label}, {case.name}")
            result, spent = bench.run(case, config)
            of = result.tracks, case.truth, case.known
            scores.append({
                "survival": 100 * survival(*of), "MTE": trajectory_error(*of), "TC": temporal_coherence(*of),
                "DAG": flow_disagreement(result.tracks, fields),
            })  # fmt: skip
            seconds.append(spent)
    for label, (_, scores, seconds) in rows.items():
        report.add(tracker=label, **mean_scores(scores), seconds=sum(seconds))
        report.details.setdefault("cases", {})[label] = scores


def _alone_and_around(bench: Bench) -> tuple[tuple[str, ImeConfig], ...]:
    """The tracker alone and with TrackIME around it: what the row is called, and how it is run."""
    around = replace(bench.base, cuts=False)
    return (bench.name, ImeConfig.plain(cuts=False)), (f"{bench.name} + TrackIME", around)


def neighbours(bench: Bench, report: Report) -> None:
    """Points an instance is tracked by, the query included."""
    sweep = {str(n): replace(bench.base, neighbours=n) for n in (1, 2, 4, 8, 16, 32, 64)}
    bench.sweep(report, "neighbours", sweep)


def windows(bench: Bench, report: Report) -> None:
    """Window sizes of 1080p, as shares of the shorter side: one window, and the two of the method."""
    sweep = {f"{side}/1080": replace(bench.base, window_scales=(side / 1080,)) for side in (1080, 960, 768, 512, 384)}
    for second in (640, 512, 384):
        sweep[f"960/1080 {second}/1080"] = replace(bench.base, window_scales=(960 / 1080, second / 1080))
    bench.sweep(report, "windows", sweep)


def weights(bench: Bench, report: Report) -> None:
    """Weights of a neighbour's step."""
    sweep = {name: replace(bench.base, weights=name) for name in ("visibility", "both", "equal")}
    bench.sweep(report, "weights", sweep)


def extras(bench: Bench, report: Report) -> None:
    """Switches beside the published form."""
    sweep = {
        "as configured": bench.base,
        "fuse by visibility alone": replace(bench.base, fusion_weights="visibility"),
        "resample in windows": replace(bench.base, resample=True),
        "fuse the full frame": replace(bench.base, fuse_full=True),
        "joint masks": replace(bench.base, joint_masks=True),
    }
    bench.sweep(report, "extras", sweep)


def sharing(bench: Bench, report: Report) -> None:
    """Windows shared by instance against one window per query: accuracy, cost, queries whose median error changes.

    worse_4px and better_4px count queries by more than 4 px of median error, worst_px is the worst query's.
    """
    for case in bench.cases():
        outcome: dict[str, tuple[TrackResult, float]] = {}
        for form in ("query", "instance"):
            status(f"{bench.name}, {case.name}, windows={form}")
            outcome[form] = bench.run(case, replace(bench.base, windows=form))
        for form, (result, seconds) in outcome.items():
            error = _median_errors(result.tracks, case.truth)
            gap = error - _median_errors(outcome["query"][0].tracks, case.truth)
            report.add(
                sharing=f"{bench.name}: {form}, {case.name}",
                **percent(score(result.tracks, case), SCORES),
                window_frames=result.operations.window_frames_encoded,
                windows=result.operations.windows,
                worse_4px=int((gap > 4).sum()),
                better_4px=int((gap < -4).sum()),
                worst_px=float(np.nanmax(gap)),
                seconds=seconds,
            )


def _median_errors(pred: Tracks, truth: Tracks) -> np.ndarray:
    """[N] median error over a query's visible frames, source pixels; NaN where it has none."""
    error = np.linalg.norm(pred.xy.astype(np.float64) - truth.xy, axis=-1)
    cells = truth.visible & (np.arange(truth.video.frames) != truth.queries.t[:, None])
    return np.array([np.median(e[c]) if c.any() else np.nan for e, c in zip(error, cells, strict=True)])


def badja(bench: Bench, samples: list[Sample], report: Report) -> None:
    """PCK-T of a tracker, alone and with TrackIME."""

    def pck(sample: Sample, tracks: Tracks) -> dict[str, float]:
        assert sample.tracks is not None and sample.masks is not None
        return {"mean": 100 * pck_t(tracks, sample.tracks, sample.masks.areas(), sample.known)}

    _with_and_without(bench, samples, report, pck)


def mask_survival(bench: Bench, samples: list[Sample], report: Report, points: int = 64) -> None:
    """Share of visible predictions that lie in the true mask of the object they started on, in all frames and in some.

    The queries are `points` random pixels of the first mask.
    """
    queried = [replace(sample, tracks=_on_first_mask(sample, points)) for sample in samples]

    def alive(sample: Sample, tracks: Tracks) -> dict[str, float]:
        assert sample.masks is not None
        shares = {"mean": in_mask(tracks, sample.masks)}
        for label, t in (("frame 10", 10), ("frame 25", 25), ("last", tracks.video.frames - 1)):
            there = np.where(np.arange(tracks.video.frames) == t, tracks.visibility, 0.0)
            shares[label] = in_mask(replace(tracks, visibility=there), sample.masks)
        return {label: 100 * share for label, share in shares.items()}

    _with_and_without(bench, queried, report, alive)


def _on_first_mask(sample: Sample, points: int) -> Tracks:
    """Queries on the object of frame 0, as static tracks."""
    assert sample.masks is not None
    y, x = np.nonzero((sample.masks[0] > 0) & (sample.masks[0] != 255))
    rows = np.random.default_rng(0).choice(len(x), min(points, len(x)), replace=False)
    info = open_video(sample.video).info
    queries = Queries(np.stack([x[rows] + 0.5, y[rows] + 0.5, np.zeros(len(rows))], 1))
    still = np.repeat(queries.xy[:, None], info.frames, 1)
    return Tracks(still, np.ones(still.shape[:2]), queries, info)


def _with_and_without(
    bench: Bench, samples: list[Sample], report: Report, measure: Callable[[Sample, Tracks], dict[str, float]]
) -> None:
    """A row for the tracker alone and one with TrackIME around it: the first score of each sequence, all scores' means.

    A sequence in which a score is undefined (NaN) is left out of its mean.
    """
    for label, config in _alone_and_around(bench):
        scores: dict[str, dict[str, float]] = {}
        seconds = 0.0
        for sample in samples:
            status(f"{label}, {sample.name}")
            assert sample.tracks is not None
            case = Case(sample.name, open_video(sample.video), sample.tracks, "first")
            result, spent = bench.run(case, config)
            scores[sample.name] = measure(sample, result.tracks)
            seconds += spent
        cells = {name: next(iter(row.values())) for name, row in scores.items()}
        report.add(tracker=label, **cells, **mean_scores(scores.values()), seconds=seconds)
