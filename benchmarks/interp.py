"""Accuracy of interpolation: frames that were left out are made by each method and compared with the true ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from benchmarks.bootstrap import BLOCK, DRAWS, LEVEL, paired
from benchmarks.interp_cases import Case, Target
from benchmarks.interp_worst import Worst
from benchmarks.report import Report, status
from trackime.arrays import Float32, Float64
from trackime.errors import InputError
from trackime.metrics import evaluate_frames
from trackime.video import Video
from trackime_apps.interp import FrameInterpolator

Methods = Mapping[str, Callable[[Video], FrameInterpolator]]
"""By name what makes a method for a video, which has the kept frames only."""
Oracles = Mapping[str, Callable[[Case], FrameInterpolator]]
"""By name what makes a method that knows the true motion: an upper bound for the others."""
Score = Callable[[Float32, Float32], Mapping[str, float]]
"""Measures of a frame made and the true one, float32 [H, W, 3] in [0, 1]."""

MEASURES = {"psnr": "PSNR", "ssim": "SSIM", "ssim_3d": "SSIM 3d", "ie_rms": "IE rms", "ie_mae": "IE abs"}
"""Measures of `trackime.metrics.evaluate_frames`, and their names in tables; SSIM in percent."""
BASELINE = "flow"
"""The method that others are compared with."""
MEAN = "mean"


@dataclass
class MethodRun:
    """Scores and times of a method in one case.

    Attributes:
        scores: of each frame in order, by measure.
        prepare: seconds before the first frame.
        make: seconds of all frames.
    """

    scores: list[Mapping[str, float]] = field(default_factory=list)
    prepare: float = 0.0
    make: float = 0.0

    def of(self, measure: str) -> Float64:
        """One measure of all frames [n]."""
        return np.array([row[measure] for row in self.scores])

    @property
    def seconds(self) -> float:
        """Seconds per new frame, preparation included."""
        return (self.prepare + self.make) / len(self.scores)


def measure(made: Float32, truth: Float32) -> dict[str, float]:
    """PSNR (dB), SSIM in both definitions (%), interpolation error as rms and mean absolute (of 255)."""
    found = evaluate_frames(made, truth).mean
    return {short: found[name] * (100 if name.startswith("ssim") else 1) for name, short in MEASURES.items()}


def rounded(frame: Float32) -> Float32:
    """A frame as 8 bits store it: clipped and rounded, float32 in [0, 1]."""
    eight: Float32 = np.round(np.clip(frame, 0, 1) * np.float32(255)) / np.float32(255)
    return eight


def run(
    case: Case, methods: Methods, score: Score = measure, worst: Worst | None = None, oracles: Oracles | None = None
) -> dict[str, MethodRun]:
    """All methods on one case, frame by frame, so that only one frame of each is held.

    Raises:
        InputError: a method makes frames of the wrong number, size or type, or with values that are not finite.
    """
    runs: dict[str, MethodRun] = {}
    makers: dict[str, FrameInterpolator] = {}
    shown = {name: partial(make, case.video) for name, make in methods.items()}
    shown |= {name: partial(make, case) for name, make in (oracles or {}).items()}
    for name, prepare in shown.items():
        status(f"{case.name}: {name}")
        start = time.perf_counter()
        makers[name] = prepare()
        runs[name] = MethodRun(prepare=time.perf_counter() - start)
    for (i, j), group in groupby(case.targets, key=lambda target: (target.i, target.j)):
        targets = list(group)
        streams = {name: iter(between(i, j, [t.tau for t in targets])) for name, between in makers.items()}
        for target in targets:
            truth = case.truth[target.t].astype(np.float32) / 255
            made: dict[str, Float32] = {}
            for name, stream in streams.items():
                start = time.perf_counter()
                frame = next(stream, None)
                runs[name].make += time.perf_counter() - start
                made[name] = rounded(_checked(frame, truth, f"{case.name}: {name}", target))
                runs[name].scores.append(score(made[name], truth))
            if worst is not None:
                ours = {name: made[name] for name in methods}
                worst.offer(case, target, truth, ours, {name: runs[name].scores[-1]["PSNR"] for name in ours})
        for name, stream in streams.items():
            if next(stream, None) is not None:
                raise InputError(f"{case.name}: {name}: expected {len(targets)} frames between {i} and {j}, got more")
    return runs


def _checked(frame: Any, truth: Float32, where: str, target: Target) -> Float32:
    between = f"between {target.i} and {target.j}"
    if frame is None:
        raise InputError(f"{where}: expected a frame {between} at {target.tau:.3f}, got none")
    if frame.shape != truth.shape or frame.dtype != np.float32:
        expected = f"float32 {list(truth.shape)}"
        raise InputError(f"{where}: expected {expected} {between}, got {frame.dtype} {list(frame.shape)}")
    if not np.isfinite(frame).all():
        raise InputError(f"{where}: expected numbers in the frame {between}, got some that are not finite")
    return frame  # type: ignore[no-any-return]


def table(
    report: Report,
    cases: Iterable[Case],
    methods: Methods,
    score: Score = measure,
    seed: int = 0,
    worst: Worst | None = None,
    oracles: Oracles | None = None,
) -> None:
    """Rows for each case (or group of short ones) and method, then for each method the mean over all cases.

    Measures of a case are means over its frames; those at the end are means over cases of equal weight. The difference
    in PSNR from the flow method is given with the interval of `bootstrap.paired`; those of the other measures, and the
    scores of all frames, are in the JSON.

    Args:
        report: gets the rows.
        cases: of different names.
        methods: by name, in the table's order.
        score: measures a frame; must have "PSNR".
        seed: of the bootstrap.
        worst: collects the worst frames, or None.
        oracles: rows for methods that know the true motion, or None.

    Raises:
        InputError: no cases, two of one name; a method that breaks the contract of `FrameInterpolator`.
    """
    runs_of: dict[str, list[MethodRun]] = {name: [] for name in (*methods, *(oracles or {}))}
    groups: list[str] = []
    frames: dict[str, Any] = {}
    motions: dict[str, dict[str, float]] = {}
    for case in cases:
        if case.name in frames:
            raise InputError(f"{case.name}: expected cases of different names, got two of this one")
        runs = run(case, methods, score, worst, oracles)
        groups.append(case.group)
        if case.motion:
            motions[case.name] = case.motion
        frames[case.name] = {"t": [target.t for target in case.targets], "tau": [t.tau for t in case.targets]}
        for name, got in runs.items():
            runs_of[name].append(got)
            frames[case.name][name] = {measure: got.of(measure).tolist() for measure in got.scores[0]}
            if not case.group:
                base = [runs[BASELINE]] if BASELINE in runs else None
                report.add(case=case.name, method=name, **_cells([got], base, seed))
        case.close()
    if not groups:
        raise InputError("interpolate: expected at least one case, got none")
    kinds = [kind for kind in dict.fromkeys(groups) if kind]
    for kind in kinds if len(set(groups)) > 1 else []:
        part = {name: [r for r, g in zip(rs, groups, strict=True) if g == kind] for name, rs in runs_of.items()}
        _means(report, f"{kind}, mean of", part, seed)
    _means(report, f"{kinds[0]}, mean of" if set(groups) == set(kinds[:1]) else "mean of", runs_of, seed)
    base = runs_of.get(BASELINE)
    report.details["differences from flow"] = {
        name: {
            m: dict(zip(("mean", "low", "high"), _difference(all_runs, base, m, seed), strict=True)) for m in measures
        }
        for name, all_runs in runs_of.items()
        if base is not None and name != BASELINE and (measures := list(all_runs[0].scores[0]))
    }
    report.details["bootstrap"] = {
        "draws": DRAWS, "seed": seed, "level": LEVEL, "resampled": f"cases, then frames in runs of {BLOCK} at most",
    }  # fmt: skip
    report.details["frames"] = frames
    if motions:
        report.details["true motion between kept frames, px"] = motions


def _means(report: Report, title: str, runs_of: Mapping[str, list[MethodRun]], seed: int) -> None:
    """A row for each method, over several cases."""
    for name, runs in runs_of.items():
        cases = f"{title} {len(runs)} case{'s' * (len(runs) > 1)}"
        report.add(case=cases, method=name, **_cells(runs, runs_of.get(BASELINE), seed))


def _cells(runs: Sequence[MethodRun], base: Sequence[MethodRun] | None, seed: int) -> dict[str, float | int]:
    """Means over cases of the means over frames, and the difference in PSNR from the flow method."""
    cells: dict[str, float | int] = {"frames": sum(len(r.scores) for r in runs)}
    for measure in runs[0].scores[0]:
        cells[measure] = float(np.mean([r.of(measure).mean() for r in runs]))
    cells["seconds"] = sum(r.prepare + r.make for r in runs) / cells["frames"]
    if base is not None and base[0] is not runs[0]:
        mean, low, high = _difference(runs, base, "PSNR", seed)
        cells |= {"dPSNR": mean, "low": low, "high": high}
    return cells


def _difference(
    runs: Sequence[MethodRun], base: Sequence[MethodRun], measure: str, seed: int
) -> tuple[float, float, float]:
    return paired([r.of(measure) - b.of(measure) for r, b in zip(runs, base, strict=True)], seed)
