"""`python -m benchmarks`: the tables of the documentation, reproduced on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks import interp as interp_benchmark
from benchmarks import interp_cases, interp_methods, vos_cases, vos_oracles
from benchmarks import memory as memory_benchmark
from benchmarks import networks as networks_benchmark
from benchmarks import solver as solver_benchmark
from benchmarks import splatting as splatting_benchmark
from benchmarks import tracking as tracking_benchmark
from benchmarks import vos as vos_benchmark
from benchmarks.cases import Case, scans, validation_worlds, worlds
from benchmarks.depth_command import depth
from benchmarks.interp_worst import Worst
from benchmarks.options import TRACKER, Size
from benchmarks.report import Report, errors
from trackime import datasets
from trackime.datasets import MODES
from trackime.devices import resolve_device
from trackime.errors import TrackimeError
from trackime.ime import DEFAULT_SEGMENTER, ImeConfig
from trackime.training import ValidationSet
from trackime_apps.depth.solver import GRIDS, SolverConfig
from trackime_apps.vos import DEFAULT_TRACKER as VOS_TRACKER
from trackime_apps.vos import VosConfig

TABLES = ("components", "overall", "trajectories", "neighbours", "windows", "weights", "extras", "sharing")


def common(command: Any) -> Any:
    """Options of every benchmark."""
    for decorate in (
        click.option(
            "--json", "json_path", type=click.Path(dir_okay=False), help="write the table and the machine here"
        ),
        click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda, cuda:N or mps"),
        click.option("--segmenter", default=DEFAULT_SEGMENTER, show_default=True),
        click.option("--chunk", default=16, show_default=True, help="frames in memory at once"),
    ):
        command = decorate(command)
    return command


@click.group()
def main() -> None:
    """Tables of trackime, each on the terminal and, with --json, in a file."""


main.add_command(depth)


@main.command()
@common
@click.option("--tracker", "names", multiple=True, default=(TRACKER,), show_default=True, help="may be repeated")
@click.option("--table", type=click.Choice(TABLES), default="components", show_default=True)
@click.option("--seeds", default=4, show_default=True, help="worlds")
@click.option("--size", type=Size(), default="1280x720", show_default=True)
@click.option("--frames", default=48, show_default=True)
@click.option("--points", default=64, show_default=True, help="queries per world")
@click.option("--objects", default=4, show_default=True)
@click.option("--background/--objects-only", default=True, show_default=True, help="where points are sampled")
@click.option("--queries", "mode", type=click.Choice(["first", "strided"]), default="first", show_default=True)
@click.option("--windows", type=click.Choice(["query", "instance"]), default="instance", show_default=True)
@click.option("--badja", type=click.Path(exists=True, file_okay=False), help="score PCK-T on BADJA sequences instead")
@click.option("--davis", type=click.Path(exists=True, file_okay=False), help="score in-mask survival on DAVIS instead")
@click.option("--rgbd", type=click.Path(exists=True, file_okay=False), help="true tracks of RGB-D scans instead")
@click.option("--held-out", is_flag=True, help="the worlds that trackime-s is validated on; --seeds of them")
@click.option("--images", type=click.Path(exists=True, file_okay=False), help="--held-out: folder of photographs")
@click.option("--sprites", type=click.Path(exists=True, file_okay=False), help="--held-out: folder of cut-outs")
def tracking(
    names: tuple[str, ...], table: str, seeds: int, size: tuple[int, int], frames: int, points: int, objects: int,
    background: bool, mode: Any, windows: str, badja: str | None, davis: str | None,
    rgbd: str | None, held_out: bool, images: str | None, sprites: str | None,
    json_path: str | None, device: str, segmenter: str, chunk: int,
) -> None:  # fmt: skip
    """The tracker on worlds, or on folders of BADJA, DAVIS or RGB-D scans."""
    place = str(resolve_device(device))
    base = ImeConfig(cuts=False, windows=windows, chunk=chunk)
    title = (
        f"{table}, {size[0]}x{size[1]}, {frames} frames, {points} queries ({mode}), {seeds} worlds, windows={windows}"
    )
    if held_out:
        title = f"{table}, {seeds} held-out worlds of {size[0]}x{size[1]}, {frames} frames, {points} queries each"
    if badja or davis:
        title = f"PCK-T on {badja}" if badja else f"in-mask survival on {davis}"
    if rgbd:
        title = f"{table}, {rgbd}, {points} queries in every 30th frame"
    if sum(map(bool, (badja, davis, rgbd, held_out))) > 1:
        raise click.UsageError("--badja, --davis, --rgbd and --held-out exclude each other")

    def cases() -> Iterable[Case]:
        if rgbd:
            return scans(rgbd, points)
        if held_out:
            return validation_worlds(ValidationSet(seeds, size[1], frames, points, width=size[0]), images, sprites)
        return worlds(seeds, size, frames, points, mode, objects, background)

    report = Report(title, place)
    samples = list(datasets.read("badja", badja) if badja else datasets.read("davis", davis)) if badja or davis else []
    for index, name in enumerate(names):
        bench = tracking_benchmark.Bench(name, segmenter, place, base, cases)
        if badja:
            tracking_benchmark.badja(bench, samples, report)
        elif davis:
            tracking_benchmark.mask_survival(bench, samples, report)
        elif table == "components":
            tracking_benchmark.components(bench, report, native=index == 0)
        else:
            getattr(tracking_benchmark, table)(bench, report)
    report.show()
    report.save(json_path)


@main.command()
@common
@click.option("--davis", type=click.Path(exists=True, file_okay=False), help="DAVIS 2016 or 2017, or the plain layout")
@click.option("--split", help="DAVIS: a list of ImageSets, such as val; otherwise every sequence")
@click.option("--year", type=click.IntRange(2016, 2017), help="DAVIS: of the split; 2016 scores all objects as one")
@click.option("--sequence", "sequences", multiple=True, help="DAVIS: only this one; may be repeated")
@click.option("--pair", "pairs", multiple=True, metavar="A,B", help="DAVIS: B's objects pasted over A; may be repeated")
@click.option("--worlds", "count", type=click.IntRange(1), metavar="N", help="procedural worlds of seeds 0 .. N - 1")
@click.option("--clip", "clips", multiple=True, type=click.Path(exists=True), help="cut-outs pasted into this video")
@click.option("--sprites", type=click.Path(exists=True, file_okay=False), help="folder of the cut-outs (.webp, .png)")
@click.option("--composites", default=1, show_default=True, help="of each clip")
@click.option("--size", type=Size(), default="427x240", show_default=True, help="of worlds and composites")
@click.option("--frames", default=32, show_default=True, help="of worlds and composites")
@click.option("--objects", default=3, show_default=True, help="of worlds and composites")
@click.option("--scale", default=1.0, show_default=True, help="resize DAVIS's frames first; 0.5 is half resolution")
@click.option("--clicks", default=0, show_default=True, help="points per object in place of its first mask")
@click.option("--set", "base", default="", metavar="NAME=VALUE,...", help="switches of the segmentation")
@click.option("--ablate", is_flag=True, help="a row for the method without each of its ideas")
@click.option("--oracles", is_flag=True, help="rows with true tracks and true masks: which step loses what")
@click.option("--variant", multiple=True, metavar="NAME=VALUE,...", help="one more row of --ablate; may be repeated")
@click.option("--reuse-tracks", is_flag=True, help="--ablate: variants with the same points share their tracks")
@click.option("--tracker", default=VOS_TRACKER, show_default=True)
@click.option("--out", type=click.Path(file_okay=False), help="keep the masks here")
def vos(
    davis: str | None, split: str | None, year: int | None, sequences: tuple[str, ...], pairs: tuple[str, ...],
    count: int | None, clips: tuple[str, ...], sprites: str | None, composites: int, size: tuple[int, int],
    frames: int, objects: int, scale: float, clicks: int, base: str, ablate: bool, oracles: bool,
    variant: tuple[str, ...], reuse_tracks: bool, tracker: str, out: str | None,
    json_path: str | None, device: str, segmenter: str, chunk: int,
) -> None:  # fmt: skip
    """Object segmentation from the first mask: DAVIS J and F, first and last frame left out.

    On DAVIS, on procedural worlds, or on cut-outs pasted into clips; the last two need no evaluation video.
    """
    if sum(map(bool, (davis, count, clips))) != 1:
        raise click.UsageError("expected one of --davis, --worlds, --clip")
    if bool(clips) != bool(sprites):
        raise click.UsageError("expected --clip and --sprites together")
    if davis:
        cases = vos_cases.davis(davis, split, year, sequences, pairs, scale)
    elif count:
        cases = vos_cases.worlds(count, size, frames, objects)
    else:
        assert sprites is not None
        cases = vos_cases.composites(clips, sprites, composites, size, frames, objects)
    config = vos_benchmark.changed(VosConfig(), base) if base else VosConfig()
    bench = vos_benchmark.Bench(
        tracker, segmenter, str(resolve_device(device)), ImeConfig(chunk=chunk, cuts=False), config, clicks,
        reuse_tracks,
    )  # fmt: skip
    where = f"DAVIS, scale {scale:g}" if davis else f"{size[0]}x{size[1]}, {frames} frames, {objects} objects"
    given = f"{clicks} clicks" if clicks else "the first mask"
    report = Report(f"vos from {given}, {where}, {tracker}, {segmenter}{', ' * bool(base)}{base}", bench.device)
    if oracles and (ablate or variant):
        raise click.UsageError("--oracles and --ablate, --variant exclude each other")
    if oracles:
        vos_oracles.oracles(report, cases, bench)
    elif ablate or variant:
        vos_benchmark.ablation(report, cases, bench, vos_benchmark.variants(config, variant))
    else:
        vos_benchmark.table(report, cases, bench, out)
    report.show()
    report.save(json_path)


@main.command()
@click.option("--clip", "clips", multiple=True, type=click.Path(exists=True), help="any video or folder of frames")
@click.option("--davis", type=click.Path(exists=True, file_okay=False), help="every sequence of DAVIS, either layout")
@click.option("--worlds", "count", type=click.IntRange(1), metavar="N", help="worlds with the large motion of sports")
@click.option("--vimeo90k", type=click.Path(exists=True, file_okay=False), help="its triplets")
@click.option("--snufilm", type=click.Path(exists=True, file_okay=False), help="its triplets; see --mode")
@click.option("--mode", type=click.Choice(MODES), help="SNU-FILM: one difficulty; otherwise all")
@click.option("--x4k1000fps", type=click.Path(exists=True, file_okay=False), help="its test set, 8 times")
@click.option("--sportsslomo", type=click.Path(exists=True, file_okay=False), help="its test list, 8 times")
@click.option("--max-frames", type=click.IntRange(3), help="only the first ones of each clip and sequence")
@click.option("--max-cases", type=click.IntRange(1), help="only the first ones of a data set")
@click.option("--scale", default=1.0, show_default=True, help="resize all frames first; 0.5 is half resolution")
@click.option("--keep-every", "step", default=2, show_default=True, type=click.IntRange(2), help="clips, DAVIS, worlds")
@click.option("--size", type=Size(), default="640x360", show_default=True, help="of worlds; motion grows with it")
@click.option("--frames", default=17, show_default=True, type=click.IntRange(3), help="of worlds")
@click.option("--method", "names", multiple=True, type=click.Choice(interp_methods.METHODS), help="may be repeated")
@click.option("--weights", type=click.Path(exists=True, dir_okay=False), help="of the EBME flow network: adds its row")
@click.option("--oracle", is_flag=True, help="rows for the true motion, which worlds alone have")
@click.option("--tracker", default=interp_methods.DEFAULT_TRACKER, show_default=True)
@click.option("--segmenter", default=DEFAULT_SEGMENTER, show_default=True)
@click.option("--seed", default=0, show_default=True, help="of the bootstrap")
@click.option("--worst", type=click.Path(file_okay=False), help="pictures of the three worst frames per method go here")
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda, cuda:N or mps")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="write the table and the machine here")
def interpolate(
    clips: tuple[str, ...], davis: str | None, count: int | None, vimeo90k: str | None, snufilm: str | None,
    mode: str | None, x4k1000fps: str | None, sportsslomo: str | None, max_frames: int | None, max_cases: int | None,
    scale: float, step: int, size: tuple[int, int], frames: int, names: tuple[str, ...], weights: str | None,
    oracle: bool, tracker: str, segmenter: str, seed: int, worst: str | None, device: str, json_path: str | None,
) -> None:  # fmt: skip
    """Frames that were left out, interpolated from those that were kept, by each method.

    Several sources may be given at once: the last rows are means over all their cases.
    """
    place = str(resolve_device(device))
    options = {"split": mode} if mode else {}
    if mode and not snufilm:
        raise click.UsageError("--mode: expected --snufilm beside it")
    parts: list[tuple[str, Iterable[interp_cases.Case]]] = []
    if clips:
        parts.append((f"{len(clips)} clips", interp_cases.clips(clips, max_frames, scale, step)))
    if davis:
        parts.append(("DAVIS", interp_cases.davis(davis, max_frames, scale, step)))
    for kind, root in (
        ("vimeo90k", vimeo90k),
        ("snufilm", snufilm),
        ("x4k1000fps", x4k1000fps),
        ("sportsslomo", sportsslomo),
    ):
        if root:
            more = options if kind == "snufilm" else {}
            parts.append((kind, interp_cases.dataset(kind, root, max_cases, scale, **more)))
    if count:
        parts.append((f"{count} worlds {size[0]}x{size[1]}", interp_cases.worlds(count, size, frames, step=step)))
    if not parts:
        raise click.UsageError(
            "expected one or more of --clip, --davis, --worlds, --vimeo90k, --snufilm, --x4k1000fps, --sportsslomo"
        )
    if oracle and (count is None or len(parts) > 1):
        raise click.UsageError("--oracle: expected --worlds and no other source beside it")
    keep = Worst() if worst else None
    kept = f", every {step}. frame kept" if clips or davis or count else ""
    report = Report(f"interpolation: {', '.join(name for name, _ in parts)}{kept}, scale {scale:g}", place, digits=2)
    maker = partial(interp_methods.Maker, tracker=tracker, segmenter=segmenter)
    chosen = interp_methods.methods(names, weights, place, maker)
    cases = (case for _, some in parts for case in some)
    truth = interp_methods.oracles(maker(place)) if oracle else None
    interp_benchmark.table(report, cases, chosen, seed=seed, worst=keep, oracles=truth)
    if keep is not None and worst is not None:
        report.details["worst"] = [path.name for path in keep.save(worst)]
    report.show()
    report.save(json_path)


@main.command()
@common
@click.option("--tracker", default=TRACKER, show_default=True)
@click.option("--frames", default=2000, show_default=True)
@click.option("--size", type=Size(), default="640x480", show_default=True)
@click.option("--points", default=16, show_default=True)
@click.option("--video-folder", type=click.Path(file_okay=False), help="keep the rendered video here")
def memory(
    tracker: str, frames: int, size: tuple[int, int], points: int, video_folder: str | None,
    json_path: str | None, device: str, segmenter: str, chunk: int,
) -> None:  # fmt: skip
    """Resident memory over a long video: the second half against the first, stage by stage."""
    place = str(resolve_device(device))
    base = ImeConfig(chunk=chunk, windows="instance")
    title = f"memory, {size[0]}x{size[1]}, {frames} frames, {points} queries, {tracker}, windows=instance"
    report = Report(title, place)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(video_folder or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        clip = memory_benchmark.LongVideo(frames, size, points, folder)
        memory_benchmark.long_video(report, clip, tracker, segmenter, base, place)
    report.show()
    report.save(json_path)


@main.command()
@click.option("--tracker", "names", multiple=True, default=("tapir",), show_default=True, help="may be repeated")
@click.option("--frames", default=24, show_default=True, help="of 256x256 pixels")
@click.option("--queries", default=256, show_default=True)
@click.option("--query-chunk", default=64, show_default=True, help="points that go through the network at once")
@click.option("--small-chunk", default=16, show_default=True, help="another chunk: memory follows it")
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda, cuda:N or mps")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="write the table and the machine here")
def networks(
    names: tuple[str, ...], frames: int, queries: int, query_chunk: int, small_chunk: int, device: str,
    json_path: str | None,
) -> None:  # fmt: skip
    """Published networks with filled weights: shared features against a direct use of the same network."""
    place = str(resolve_device(device))
    report = Report(f"networks, 256x256, {frames} frames, {queries} queries", place)
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            sizes = networks_benchmark.Sizes(frames, queries, query_chunk, small_chunk)
            networks_benchmark.compare(report, name, sizes, place, Path(scratch))
    report.show()
    report.save(json_path)


@main.command()
@click.option("--size", type=Size(), default="1920x1080", show_default=True)
@click.option("--channels", type=click.IntRange(1), default=4, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="of the CPU")
@click.option("--runs", type=click.IntRange(1), default=20, show_default=True, help="of each; the fastest counts")
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda, cuda:N or mps")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="write the table and the machine here")
def splatting(
    size: tuple[int, int], channels: int, threads: int, runs: int, device: str, json_path: str | None
) -> None:
    """Forward warping in every mode against the cost of moving its bytes; on a GPU both kernels."""
    place = str(resolve_device(device))
    report = Report(f"splatting, {size[0]}x{size[1]}, {channels} channels, {threads} threads, best of {runs}", place)
    splatting_benchmark.compare(report, size, channels, threads, runs, place)
    report.show()
    report.save(json_path)


@main.command()
@click.option("--frames", "counts", multiple=True, type=click.IntRange(2), default=(100,), show_default=True,
              help="may be repeated: the last row is the exponent of time by frames")  # fmt: skip
@click.option("--matches", default=30_000, show_default=True, help="of each frame")
@click.option("--grid", type=click.Choice(GRIDS), default=GRIDS[-1], show_default=True, help="finest handles of depth")
@click.option("--linear", type=click.Choice(["auto", "pcg", "cholesky"]), default="auto", show_default=True)
@click.option("--residual", type=click.Choice(["default", "rcvd"]), default="default", show_default=True)
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda, cuda:N or mps")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="write the table and the machine here")
def solver(
    counts: tuple[int, ...], matches: int, grid: str, linear: str, residual: str, device: str, json_path: str | None
) -> None:
    """Consistent depth: time and memory of the solver on scenes with known truth, by number of frames."""
    place = str(resolve_device(device))
    report = Report(f"solver, {matches} matches per frame, grid {grid}, {linear}, {residual} residual", place)
    config = SolverConfig(grid=grid, linear=linear, residual=residual)
    solver_benchmark.table(report, counts, matches, config, place)
    report.show()
    report.save(json_path)


if __name__ == "__main__":
    try:
        main()
    except TrackimeError as error:
        errors.print(f"error: {error}", style="red", highlight=False)
        raise SystemExit(1) from None
