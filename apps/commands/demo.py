"""`trackime-apps demo`: every application run on a synthetic world, and scored against its truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from trackime.ime import ImeConfig

from ..interp import InterpConfig
from ..run import (
    Command,
    Flags,
    Progress,
    ResultFolder,
    TrackRequest,
    check_names,
    compute_options,
    config_options,
    console,
    describe,
    output_options,
    run_command,
    seal,
    track_into,
    track_once,
)
from ..vos import MaskFiles, VosConfig
from ._vos_result import MaskAt, VosTask, vos_into
from .depth import depth_into
from .interpolate import Tracking, interpolate_into

if TYPE_CHECKING:
    from trackime.video import Video
    from trackime.worlds import Scene

_WORLD: dict[str, Any] = {"width": 320, "height": 240, "frames": 32, "objects": 5, "movers": 2, "path": "orbit"}
"""Options of the scene: a room, a few moving objects, and a camera that orbits them."""
_SEED = 4
"""A room whose moving objects are large enough to see."""
_POINTS = 48
"""Points tracked: random ones of the first frame, a quarter of them close to objects' edges."""


@click.command("demo", cls=Command)
@output_options(default="demo")
@click.option("--world-seed", type=click.IntRange(0), default=_SEED, show_default=True,
              help="Seed of the world.")  # fmt: skip
@compute_options
@config_options("Method", ImeConfig, table="track")
def command(output: Path, overwrite: bool, resume: bool, quiet: bool, **settings: Any) -> None:
    """Render a small world, run every application on it, and score them against its truth.

    Points are tracked, objects segmented, depth and cameras estimated, and every other frame is left out and
    interpolated.
    OUT gets world/ (video.mp4, masks, true tracks, true depth), track/, vos/, depth/ and interpolate/ (as those
    commands write them), frames.csv, config.toml and result.json with the scores. Takes a minute or two on two cores.
    """
    check_names(settings["tracker"], settings["segmenter"])

    def body(result: ResultFolder, progress: Progress) -> str:
        _demo_into(result, settings["track"], progress, settings)
        return "every application run and scored"

    result = run_command("demo", output, settings, (), Flags(overwrite, resume, quiet), body)
    if result is not None and not quiet:
        _show_scores(output, result.record["scores"])


def _demo_into(result: ResultFolder, config: ImeConfig, progress: Progress, settings: dict[str, Any]) -> None:
    """Write all of a demo but what every result has; the scores go to `result.record`."""
    from trackime.devices import resolve_device
    from trackime.video import open_video
    from trackime.worlds import make_scene

    place = str(resolve_device(settings["device"]))
    with progress.stage("world"):
        world = make_scene(settings["world_seed"], **_WORLD)
        source = _write_world(result.folder / "world", world, progress)
    with open_video(source) as video:
        video.info = replace(video.info, source="world/video.mp4")  # where it will be, not where it is made
        names = {name: settings[name] for name in ("tracker", "segmenter")} | {"device": place}
        describe(result, video, place, progress)
        scores = {
            **_score_tracks(result, world, video, config, progress, names),
            **_score_masks(result, world, video, config, progress, names),
            **_score_depth(result, world, video, progress, place),
            **_score_frames(result, world, video, progress, place),
        }
    result.record["scores"] = scores


def _write_world(folder: Path, world: Scene, progress: Progress) -> Path:
    """The world's video.mp4, masks/NAME.png, tracks.npz (true tracks of the points), and true depth and cameras as
    results of depth have them; the path of the video."""
    from trackime.geometry import Cameras
    from trackime.video import VideoWriter, write_mask

    from ..depth.files import DepthFolder

    folder.mkdir()
    (folder / "masks").mkdir()
    info, path = world.info, folder / "video.mp4"
    cameras = Cameras(np.asarray(world.poses, np.float64), np.full(len(world), world.focal), info.width, info.height)
    truth, all_of_it = DepthFolder.begin(folder, cameras, info, metric=False), np.ones((info.height, info.width), bool)
    with VideoWriter(path, info.width, info.height, pts=info.pts, crf=8) as writer:
        for t, name in enumerate(info.names):
            writer.write(world.frame(t))
            write_mask(folder / "masks" / f"{name}.png", world.mask(t))
            truth.write(t, world.frame(t), world.depth(t), all_of_it, all_of_it, world.dynamic(t))
            progress("world", t + 1, len(world))
    world.sample(_POINTS, t=0, edge_share=0.25).save(folder / "tracks.npz")
    return path


def _score_tracks(
    result: ResultFolder, world: Scene, video: Video, config: ImeConfig, progress: Progress, names: dict[str, Any]
) -> dict[str, Any]:
    """Track the true points' queries into track/; TAP-Vid's measures by name of the method."""
    from trackime.metrics import evaluate
    from trackime.types import Queries, Tracks

    truth = Tracks.load(result.folder / "world" / "tracks.npz")
    queries = Queries(truth.queries.xyt)  # without the object that a point is on
    part, scores = result.part("track"), {}
    request = TrackRequest(queries=queries, config=config, **names)
    tracks = track_into(part, _lent(video), request, progress)
    runs = {"TrackIME": tracks}
    if config.instance_motion or config.clip:
        alone = ImeConfig(instance_motion=False, clip=False, cuts=config.cuts, chunk=config.chunk)
        saved = result.checkpoint / "alone.npz"
        with progress.stage("tracker alone"):
            runs["tracker alone"] = track_once(saved, video, queries, config=alone, progress=progress, **names)
    for name, found in runs.items():
        measures = evaluate(Tracks(found.xy, found.visibility, truth.queries, truth.video), truth)
        kept = ("average_pts_within_thresh", "average_jaccard", "occlusion_accuracy", "pts_within_1")
        scores[name] = {key: round(measures[key], 4) for key in kept}
        scores[name]["median_error_px"] = round(_median_error(found, truth), 3)
    part.record["scores"] = {"track": scores}
    seal(part, "track", {**names, "track": config})
    return {"track": scores}


def _score_masks(
    result: ResultFolder, world: Scene, video: Video, config: ImeConfig, progress: Progress, names: dict[str, Any]
) -> dict[str, Any]:
    """Follow the first frame's objects into vos/; DAVIS's measures over objects, and of a mask that stays put."""
    from trackime.metrics import evaluate_masks, summary

    part, given = result.part("vos"), result.folder / "world" / "masks" / f"{world.info.names[0]}.png"
    vos = VosConfig(seed=config.seed)
    vos_into(part, _lent(video), VosTask([MaskAt(str(given))], config=vos, ime=config, **names), progress)
    truth = MaskFiles(given.parent, world.info.names)
    with progress.stage("scoring"):
        runs = {"tracked": MaskFiles(part.folder / "masks", world.info.names), "first mask kept": _Still(truth)}
        scores = {
            name: {key: round(value, 4) for key, value in summary(evaluate_masks(masks, truth)).items()}
            for name, masks in runs.items()
        }
    part.record["scores"] = {"vos": scores}
    seal(part, "vos", {**names, "vos": vos, "track": config})
    return {"vos": scores}


def _score_depth(result: ResultFolder, world: Scene, video: Video, progress: Progress, device: str) -> dict[str, Any]:
    """Find depth and cameras into depth/, by parallax alone; how far they are from the truth, up to one scale."""
    from trackime.metrics import absolute_error, depth_scores

    from ..depth import DepthConfig, DepthRequest, Exports

    part, exports = result.part("depth"), Exports()
    request = DepthRequest(DepthConfig(cuts=0.0), device=device)
    found = depth_into(part, _lent(video), request, exports, progress).shots[0].folder
    with progress.stage("scoring"):
        scores: dict[str, dict[str, float]] = {}
        for name, measured in (("all pixels", None), ("measured", lambda t: found.maps(t)[2])):
            of = depth_scores(found.depth, world.depth, range(len(world)), measured=measured)
            kept = {"AbsRel": of.abs_rel, "delta1": of.delta1, "coverage": of.coverage}
            scores[name] = {key: round(value, 4) for key, value in kept.items()}
        error = absolute_error(found.cameras.poses, world.poses)
        cameras = {"ATE": round(error.share, 5), "focal": round(float(found.cameras.focal[0]) / world.focal, 4)}
    part.record["scores"] = {"depth": scores, "cameras": cameras}
    tables = {"depth": request.depth, "dense": request.dense, "solver": request.solver, "exports": exports}
    seal(part, "depth", {"device": device, **tables})
    return {"depth": scores, "cameras": cameras}


def _score_frames(result: ResultFolder, world: Scene, video: Video, progress: Progress, device: str) -> dict[str, Any]:
    """Make every other frame from the rest into interpolate/; PSNR and SSIM, and those of the neighbours' mean."""
    from trackime.metrics import psnr, ssim
    from trackime.video import open_video

    from ..interp import interpolate

    part, config = result.part("interpolate"), InterpConfig(factor=2, tail=False, cuts=0.0)
    kept = np.stack([video[t] for t in range(0, len(video), 2)])
    interpolate_into(part, kept, config, progress, tracking=Tracking(device=device))
    del part.record["video"]["source"]  # an array has none
    scores = {}
    with progress.stage("scoring"):
        written = (open_video(part.folder / f"{t:05d}.png")[0] for t in range(2 * len(kept) - 1))
        blended = (frame for frame, _ in interpolate(kept, config=replace(config, method="mean")))
        for name, made in (("tracks", written), ("mean of both neighbours", blended)):
            pairs = [(frame, world.frame(t)) for t, frame in enumerate(made) if t % 2]
            scores[name] = {
                "PSNR": round(float(np.mean([psnr(frame, truth) for frame, truth in pairs])), 3),
                "SSIM": round(float(np.mean([ssim(frame, truth) for frame, truth in pairs])), 4),
            }
    part.record["scores"] = {"interpolate": scores}
    seal(part, "interpolate", {"device": device, "interpolate": config})
    return {"interpolate": scores}


def _lent(video: Video) -> Video:
    """`video` again, for a function that closes it."""
    clip = video.clip(0, len(video))
    clip.info = video.info
    return clip


class _Still(MaskFiles):
    """The first of some masks, for every frame."""

    def __init__(self, masks: MaskFiles) -> None:
        self._paths = [masks._paths[0]] * len(masks)


def _median_error(tracks: Any, truth: Any) -> float:
    """Median distance in pixels of the points that truth says are visible, query frames left out."""
    scored = truth.visible & (np.arange(truth.video.frames) != truth.queries.t[:, None])
    return float(np.median(np.linalg.norm(tracks.xy - truth.xy, axis=-1)[scored]))


def _show_scores(output: Path, scores: dict[str, Any]) -> None:
    """The scores as a table on stdout, and where to look."""
    from rich.table import Table

    points = Table(title="Points against the truth", title_justify="left")
    for heading in ("", "within 1 .. 16 px", "Jaccard", "occlusion", "within 1 px", "median error"):
        points.add_column(heading, justify="right" if heading else "left")
    for name, row in scores["track"].items():
        values = [f"{100 * value:.1f} %" for key, value in row.items() if key != "median_error_px"]
        points.add_row(name, *values, f"{row['median_error_px']:.2f} px")
    objects = Table(title="Objects against the truth", title_justify="left")
    for heading in ("", "J&F", "J (region)", "F (boundary)"):
        objects.add_column(heading, justify="right" if heading else "left")
    for name, row in scores["vos"].items():
        objects.add_row(name, *(f"{100 * row[key]:.1f} %" for key in ("J&F", "J_mean", "F_mean")))
    frames = Table(title="Interpolated frames against the truth", title_justify="left")
    for heading in ("", "PSNR", "SSIM"):
        frames.add_column(heading, justify="right" if heading else "left")
    for name, row in scores["interpolate"].items():
        frames.add_row(name, f"{row['PSNR']:.1f} dB", f"{100 * row['SSIM']:.1f} %")
    depth = Table(title="Depth and cameras against the truth", title_justify="left")
    for heading in ("", "mean error", "within 25 %", "of all pixels"):
        depth.add_column(heading, justify="right" if heading else "left")
    for name, row in scores["depth"].items():
        depth.add_row(name, *(f"{100 * row[key]:.1f} %" for key in ("AbsRel", "delta1", "coverage")))
    depth.add_row("cameras", f"{100 * scores['cameras']['ATE']:.2f} % of their path")
    console(120).print(points, objects, depth, frames)
    click.echo("look at")
    for place, what in (
        ("track/overlay.mp4", "points and their recent paths"),
        ("vos/overlay.mp4", "objects"),
        ("depth/overlay.mp4", "depth; depth/cloud.ply is the room as points"),
        ("track/sheet.png", "the same on one page, and vos/, depth/, interpolate/sheet.png"),
        ("world/video.mp4", "the world, with its true masks, tracks, depth and cameras beside it"),
        ("result.json", "the scores"),
    ):
        click.echo(f"  {output / place!s:<32} {what}")
