"""Consistent depth against true depth and cameras: the application end to end, and the solve from spoiled depth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.depth_cases import Case, grid_step, static_tracks
from benchmarks.depth_matches import of_flow
from benchmarks.depth_spoiled import SpoiledDepth
from benchmarks.report import Report, status
from trackime.arrays import BoolArray, FloatArray, ids_at
from trackime.dense import DenseConfig, follow
from trackime.errors import InputError, TrackimeError
from trackime.geometry import Cameras
from trackime.metrics import (
    DepthScores,
    Maps,
    absolute_error,
    along,
    consistency,
    depth_scores,
    flicker,
    relative_error,
)
from trackime_apps.depth import DepthResult, InitialDepth, depth, make_matches
from trackime_apps.depth.movers import find
from trackime_apps.depth.solver import Matches, Problem, SolverConfig, solve

GAP = 4
"""Frames between the two ends of a motion or of a point's sightings that are compared."""


class Estimate(Protocol):
    """The result of the application for a video, as `DepthResult`."""

    cameras: Cameras
    depth: Sequence[FloatArray]  # [H, W] each at the video's resolution; 0 unknown
    measured: Sequence[BoolArray]  # [H, W] each: measured, not filled in
    seconds: Mapping[str, float]


Runner = Callable[[Case], Estimate]


def run_depth(case: Case, know_focal: bool = False, **options: Any) -> DepthResult:
    """The application on a video.

    Args:
        case: its video; nothing else of it is used, except by
        know_focal: give the true focal length.
        options: of `trackime_apps.depth`.
    """
    return depth(case.video, focal=case.focal if know_focal else None, **options)


# ---- the application


def table(
    report: Report, cases: Iterable[Case], runner: Runner, alignment: str = "scale", farthest: float = np.inf
) -> None:
    """One row per video: depth over all and over measured pixels, cameras, consistency, seconds; their means last.

    A video that the application refuses is a row with its message, and has no part in the means.
    """
    rows: list[dict[str, Any]] = []
    for case in cases:
        status(case.name)
        begin = time.perf_counter()
        try:
            result = runner(case)
            seconds = time.perf_counter() - begin
            maps = result.depth.__getitem__, result.measured.__getitem__
            row = scores(case, maps[0], result.cameras, alignment, maps[1], farthest)
        except TrackimeError as error:
            report.add(video=case.name, frames=len(case.video), refused=str(error))
            continue
        row |= {"focal/true": float(np.median(result.cameras.focal)) / case.focal, "seconds": seconds}
        report.add(video=case.name, frames=len(case.video), **row)
        report.details.setdefault("seconds", {})[case.name] = dict(result.seconds)
        rows.append(row)
    if len(rows) > 1:
        report.add(video=f"mean of {len(rows)}", **means(rows))


def scores(
    case: Case, depth: Maps, cameras: Cameras | None, alignment: str = "scale", measured: Maps | None = None,
    farthest: float = np.inf,
) -> dict[str, float]:  # fmt: skip
    """The figures of one estimate; those of cameras and consistency where there are cameras (and true tracks).

    Args:
        case: the truth.
        depth, cameras: the estimate, in one unit.
        alignment: of depth, see `trackime.metrics.depth.ALIGNMENTS`.
        measured: bool [H, W] of a frame: figures of these pixels are added to those of all.
        farthest: true depth beyond it does not count.
    """
    frames = range(len(case.video))
    out: dict[str, float] = {}
    ways: list[tuple[str, Maps | None]] = [("", None)] if measured is None else [("", None), (" measured", measured)]
    for name, where in ways:
        got = depth_scores(depth, case.depth, frames, alignment=alignment, measured=where, farthest=farthest)
        out |= figures(got, name)
    if cameras is not None:
        try:
            error = absolute_error(cameras.poses, case.poses)
            moved = relative_error(cameras.poses, case.poses, min(GAP, len(case.video) - 1))
            out |= {"ATE": error.rmse, "ATE %": 100 * error.share}
            out |= {"RPE": moved.translation, "RPE deg": moved.degrees}
        except InputError:
            pass  # a static camera, or unknown poses, have no such errors
    if case.tracks is not None:
        z = along(depth, case.tracks, case.video.info.width, case.video.info.height)
        if cameras is not None:
            (agreed,) = consistency(z, case.tracks, cameras, (min(GAP, len(case.video) - 1),))
            out["inconsistent %"] = 100 * agreed.relative
        if len(case.video) > 2:
            out["flicker %"] = 100 * flicker(z, case.tracks)
    return out


def figures(got: DepthScores, name: str = "") -> dict[str, float]:
    """Columns of depth."""
    columns = {"d1 %": 100 * got.delta1, "AbsRel": got.abs_rel, "RMSE": got.rmse, "pixels %": 100 * got.coverage}
    return {column + name: value for column, value in columns.items()}


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The mean of every figure that all rows have."""
    names = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


# ---- the solve alone


@dataclass(frozen=True)
class Spoiling:
    """How depth is spoiled, and the initial focal length as a share of the true one."""

    scale: float = 0.3
    deform: float = 0.2
    shift: float = 0.5
    focal: float = 1.1

    def of(self, case: Case, seed: int) -> SpoiledDepth:
        """The depth a solve of this case starts from."""
        return SpoiledDepth(
            case.depth, len(case.video), scale=self.scale, deform=self.deform, shift=self.shift, seed=seed
        )


Maker = Callable[[Case, InitialDepth], Matches]


def true_tracks(case: Case, initial: InitialDepth) -> Matches:
    """True tracks of what does not move."""
    if case.scene is None:
        raise InputError(f"{case.name}: expected a world, whose tracks are known")
    info = case.video.info
    tracks = static_tracks(case.scene, grid_step(info.width, info.height))
    return make_matches(tracks, initial, info.width, info.height)


def followed(method: str, masked: bool = False) -> Maker:
    """Points followed by `DenseConfig.method`; moving points are detected by `movers`, or known where `masked`."""

    def maker(case: Case, initial: InitialDepth) -> Matches:
        info = case.video.info
        tracks = follow(case.video, config=DenseConfig(method=method))
        if not masked:
            return make_matches(
                tracks, initial, info.width, info.height, static=find(tracks, info.width, info.height).static
            )
        still = np.zeros(len(tracks.frame), bool)
        for t in range(tracks.frames):
            rows = tracks.at(t)[1]
            still[rows] = ids_at(case.static(t), tracks.xy[rows])
        static = np.add.reduceat(~still, tracks.first[:-1]) == 0
        return make_matches(tracks, initial, info.width, info.height, static=static)

    return maker


def chained_flow(case: Case, initial: InitialDepth) -> Matches:
    """DIS flow chained from frame to frame, from new points for each pair, everywhere: only the loss handles movers."""
    return of_flow(case.video, initial, None, grid_step(case.video.info.width, case.video.info.height))


def chained_masked_flow(case: Case, initial: InitialDepth) -> Matches:
    """The same, only where nothing moves, which is known."""
    return of_flow(case.video, initial, case.static, grid_step(case.video.info.width, case.video.info.height))


MATCHES: dict[str, Maker] = {
    "true tracks": true_tracks,
    "our tracks": followed("patch"),
    "our tracks, true masks": followed("patch", masked=True),
    "followed flow": followed("flow"),
    "followed flow, true masks": followed("flow", masked=True),
    "chained flow": chained_flow,
    "chained flow, true masks": chained_masked_flow,
}
"""Makers of matches, by name."""


def spoiled(
    report: Report, cases: Iterable[Case], makers: Mapping[str, Maker], spoiling: Spoiling, config: SolverConfig,
    device: str = "cpu",
) -> None:  # fmt: skip
    """Worlds solved from spoiled depth: before, and after with the matches of each maker; means over the worlds last.

    Before: true cameras, depth brought to their unit by its alignment. Depth is aligned by one scale per video; where a
    shift was taken off the disparity, what is spoiled is shown after one scale and one shift, too.
    """
    every: dict[str, list[dict[str, Any]]] = {}

    def add(case: Case, name: str, row: dict[str, Any]) -> None:
        report.add(world=case.name, matches=name, **row)
        every.setdefault(name, []).append(row)

    for seed, case in enumerate(cases):
        info, frames = case.video.info, len(case.video)
        initial = spoiling.of(case, seed)
        true = Cameras(case.poses, np.full(frames, case.focal), info.width, info.height)
        for alignment in ("scale", "scale-shift")[: 1 + initial.disparity]:
            fit = depth_scores(initial.depth, case.depth, range(frames), alignment=alignment)
            seen = _aligned(initial, fit.scale, fit.shift)
            row = scores(case, seen, true, "none") | figures(fit)
            add(case, f"spoiled, {alignment}", {k: v for k, v in row.items() if k[:3] not in ("ATE", "RPE")})
        for name, maker in makers.items():
            status(f"{case.name}: {name}")
            begin = time.perf_counter()
            matches = maker(case, initial)
            made = time.perf_counter()
            problem = Problem(
                frames, info.width, info.height, matches, spoiling.focal * case.focal, disparity=initial.disparity
            )
            solution = solve(problem, config, device=device)
            after = time.perf_counter()

            def solved(t: int, s: Any = solution, d: InitialDepth = initial) -> FloatArray:
                return np.asarray(s.depth(t, torch.as_tensor(d.depth(t))))

            cameras = Cameras(solution.poses.numpy(), solution.focal.numpy(), info.width, info.height)
            row = scores(case, solved, cameras)
            row |= {"focal/true": float(np.median(cameras.focal)) / case.focal, "count": len(matches)}
            add(case, name, row | {"match s": made - begin, "solve s": after - made})
    if any(len(rows) > 1 for rows in every.values()):
        for name, rows in every.items():
            report.add(world=f"mean of {len(rows)}", matches=name, **means(rows))


def _aligned(initial: InitialDepth, scale: float, shift: float) -> Maps:
    """Depth after an alignment: scale d, or 1 / (scale / d + shift); 0 where that is beyond infinity."""

    def depth(t: int) -> FloatArray:
        d = np.asarray(initial.depth(t), np.float64)
        known = d > 0
        d = np.where(known, d, 1)
        if not shift:
            return np.where(known, scale * d, 0)
        disparity = scale / d + shift
        return np.where(known & (disparity > 0), 1 / np.where(disparity > 0, disparity, 1), 0)

    return depth
