"""`python -m benchmarks depth`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from benchmarks import depth as depth_benchmark
from benchmarks import depth_cases
from benchmarks.options import Size
from benchmarks.report import Report
from trackime import datasets
from trackime.devices import resolve_device
from trackime.metrics import ALIGNMENTS
from trackime.worlds import PATHS
from trackime_apps.depth import DepthConfig
from trackime_apps.depth.solver import GRIDS, SolverConfig
from trackime_apps.run import Command, config_options


@click.command(cls=Command)
@click.option("--worlds", "count", type=click.IntRange(1), metavar="N", help="3D scenes with moving objects")
@click.option("--scan", "folders", multiple=True, nargs=2, metavar="KIND PATH",
              help=f"RGB-D videos, KIND one of {', '.join(datasets.SCANS)}; may be repeated")  # fmt: skip
@click.option("--spoiled", is_flag=True, help="worlds: the solve alone, from true depth that was spoiled")
@click.option("--matches", "names", multiple=True, type=click.Choice(list(depth_benchmark.MATCHES)),
              help="--spoiled: where matches come from; may be repeated; otherwise all")  # fmt: skip
@click.option(
    "--sigma", default=0.3, show_default=True, help="--spoiled: deviation of the logarithm of a frame's scale"
)
@click.option("--deform", default=0.2, show_default=True, help="--spoiled: smooth deformation, a share of depth")
@click.option("--shift", default=0.5, show_default=True,
              help="--spoiled: off the disparity, a share of the smallest; 0: depth is given")  # fmt: skip
@click.option("--grid", type=click.Choice(GRIDS), default=GRIDS[-1], show_default=True, help="--spoiled: handles")
@click.option("--path", "paths", multiple=True, type=click.Choice(PATHS), default=("wander", "orbit", "dolly"),
              show_default=True, help="of the worlds' cameras, in turn")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="of the first world")
@click.option("--size", type=Size(), default="320x240", show_default=True, help="of worlds")
@click.option("--movers", default=2, show_default=True, type=click.IntRange(0), help="moving objects of worlds")
@click.option("--frames", type=click.IntRange(2), help="of worlds (24), and the most of an RGB-D video")
@click.option("--first", default=0, show_default=True, help="frame of RGB-D videos")
@click.option("--alignment", type=click.Choice(ALIGNMENTS), default="scale", show_default=True)
@click.option("--farthest", type=float, default=float("inf"), help="true depth beyond it does not count")
@click.option("--know-focal", is_flag=True, help="the application is given the true focal length")
@config_options("Application", DepthConfig, table="config", file_only=["cuts", "matches"])
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda, cuda:N or mps")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="write the table and the machine here")
def depth(
    count: int | None, folders: tuple[tuple[str, str], ...], spoiled: bool, names: tuple[str, ...], sigma: float,
    deform: float, shift: float, grid: str, paths: tuple[str, ...], seed: int, size: tuple[int, int], movers: int,
    frames: int | None, first: int, alignment: str, farthest: float, device: str, json_path: str | None,
    know_focal: bool, config: DepthConfig,
) -> None:  # fmt: skip
    """Consistent depth and cameras against the truth, of worlds and of RGB-D videos."""
    place = str(resolve_device(device))
    if bool(count) == bool(folders):
        raise click.UsageError("expected either --worlds or --scan")
    if spoiled and not count:
        raise click.UsageError("--spoiled: expected --worlds beside it")
    if names and not spoiled:
        raise click.UsageError("--matches: expected --spoiled beside it")
    if count:
        length = frames or 24
        cases = depth_cases.worlds(range(seed, seed + count), paths, size, length, movers)
        where = f"{count} worlds {size[0]}x{size[1]}, {length} frames, {movers} moving objects"
    else:
        cases = (case for kind, path in folders for case in depth_cases.scans(kind, path, first, frames))
        where = ", ".join(Path(path).name for _, path in folders)
    if spoiled:
        spoiling = depth_benchmark.Spoiling(sigma, deform, shift)
        report = Report(f"solve from depth spoiled by {sigma:g}, {deform:g}, {shift:g}: {where}", place, digits=2)
        makers = {name: depth_benchmark.MATCHES[name] for name in names or depth_benchmark.MATCHES}
        depth_benchmark.spoiled(report, cases, makers, spoiling, SolverConfig(grid=grid), place)
    else:
        cap = "" if farthest == float("inf") else f" up to {farthest:g}"
        report = Report(f"depth{cap}, alignment {alignment}: {where}", place, digits=2)
        uncut = replace(config, cuts=0.0)
        runner = partial(depth_benchmark.run_depth, know_focal=know_focal, config=uncut, device=place)
        depth_benchmark.table(report, cases, runner, alignment, farthest)
    report.show()
    report.save(json_path)
