"""`trackime-apps depth`: consistent depth, cameras and a point cloud from a video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trackime.dense import DEFAULT_TRACKER, DenseConfig
from trackime.ime import DEFAULT_SEGMENTER

from ..depth import DepthConfig, Exports
from ..depth.solver import SolverConfig
from ..depth.source import Source
from ..run import (
    Command,
    Progress,
    ResultFolder,
    build_config,
    check_names,
    compute_options_with,
    config_options,
    count,
    describe,
    output_options,
    result_folder,
    tracks_option,
    typed_arguments,
)

if TYPE_CHECKING:
    from ..depth import Depth, Shot


@click.command("depth", cls=Command)
@click.argument("video")
@output_options()
@click.option("--depth-model", metavar="NAME|FOLDER",
              help="Begin with a network's depth, see `models list`; none: with the video's parallax.")  # fmt: skip
@click.option("--depth-folder", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Begin with depth maps made elsewhere: npz, npy, png, exr, pfm, dpt.")  # fmt: skip
@click.option("--depth-kind", type=click.Choice(("depth", "disparity", "metric")),
              help="What the folder's values are; else as its sidecar says, or depth up to a scale.")  # fmt: skip
@click.option("--depth-scale", type=float, help="What they are multiplied by; else as the sidecar says, or 1.")
@click.option("--focal", type=float, metavar="PX", help="The focal length, pixels; it is kept.")
@click.option("--fov", type=float, metavar="DEG", help="The same as a horizontal angle of view.")
@click.option("--intrinsics", type=click.Path(path_type=Path), metavar="FILE",
              help="The same from intrinsics.json, a 3x3 matrix, cameras.txt or transforms.json.")  # fmt: skip
@compute_options_with(DEFAULT_TRACKER)
@tracks_option
@config_options("Depth", DepthConfig)
@config_options("Points", DenseConfig, skip=["cuts"])
@config_options("Files", Exports)
@config_options("Solver", SolverConfig, skip=["focal"])
def command(video: str, output: Path, overwrite: bool, resume: bool, quiet: bool, **settings: Any) -> None:
    """Find depth and cameras of VIDEO (a file, or a folder of frames) that agree over all of its frames.

    Without --depth-model or --depth-folder depth comes from parallax: the camera has to move from its place. OUT gets
    depth/NAME.npz, depth_png, dynamic, images, depth.mp4, cameras.tum, intrinsics.json, cloud.ply, colmap/sparse/0,
    transforms.json, overlay.mp4, sheet.png, frames.csv, config.toml and result.json. A video with cuts gets a folder
    of these for each shot.
    """
    config, exports = build_config(DepthConfig, settings), build_config(Exports, settings)
    follow = build_config(DenseConfig, {**settings, "cuts": False})
    # The solver's own `focal` says what is done with it.
    solver = build_config(SolverConfig, {name: value for name, value in settings.items() if name != "focal"})
    check_names(settings["tracker"], settings["segmenter"])
    inputs = [video, *(settings[name] for name in ("depth_folder", "intrinsics", "tracks") if settings[name])]
    if settings["depth_model"] and Path(settings["depth_model"]).is_dir():
        inputs.append(settings["depth_model"])
    line = f"{output}: finished already, skipped"
    with (
        Progress(quiet) as progress,
        result_folder(output, "depth", settings, inputs, overwrite, resume, arguments=typed_arguments()) as result,
    ):
        if result is not None:
            found = depth_into(result, video, (config, follow, solver), exports, progress, **settings)
            frames = sum(len(shot.result) for shot in found.shots)
            shots = f" in {count(len(found.shots), 'shot')}" if len(found.shots) > 1 else ""
            line = f"{output}: depth of {count(frames, 'frame')}{shots} in {sum(progress.seconds.values()):.1f} s"
    if not quiet:
        click.echo(line)


def depth_into(
    result: ResultFolder,
    source: Any,
    switches: tuple[DepthConfig, DenseConfig, SolverConfig],
    exports: Exports,
    progress: Progress,
    *,
    depth_model: str | None = None,
    depth_folder: Path | None = None,
    depth_kind: str | None = None,
    depth_scale: float | None = None,
    focal: float | None = None,
    fov: float | None = None,
    intrinsics: Path | None = None,
    device: str = "auto",
    tracker: str = DEFAULT_TRACKER,
    segmenter: str = DEFAULT_SEGMENTER,
    tracks: Path | None = None,
    **_: Any,
) -> Depth:
    """Find depth, and write all of a `depth` result but what every result has.

    Args:
        result: where to write; points, first cameras and first maps in its checkpoint are not made again.
        source: anything `open_video` takes.
        switches: of depth, points and solver.
        exports: the files.
        progress: told of the work; measures its stages.
        depth_model, depth_folder, depth_kind, depth_scale: see `Source`.
        focal, fov, intrinsics: see `focal.given`.
        device, tracker, segmenter: as in `depth`.
        tracks: a file of tracks to reuse; nothing is followed then.
    """
    from trackime.devices import resolve_device
    from trackime.video import open_video

    from ..depth import depth, given, write_pictures
    from ..depth.files import check, export
    from ..run import load_tracks

    place = str(resolve_device(device))
    config, follow, solver = switches
    start = Source(depth_model, depth_folder, depth_kind, depth_scale)
    with open_video(source) as video:
        check(exports, video.info.names)
        known = None if tracks is None else load_tracks(tracks, video.info)
        found = depth(
            video, result.folder, config=config, follow=follow, solver=solver, source=start,
            focal=given(focal, fov, intrinsics, video.info), tracks=known, tracker=tracker,
            segmenter=segmenter, work=result.checkpoint, device=place, progress=progress,
        )  # fmt: skip
        for shot in found.shots:
            with progress.stage("exporting"):
                world = None if exports.colmap == "none" else shot.world()
                shot.about.update(export(shot.result, exports, world, progress))
        with progress.stage("overlay"):
            write_pictures(result.folder, video, [shot.result for shot in found.shots], progress)
        describe(result, video, place, progress)
    result.record["shots"] = [_record(shot) for shot in found.shots]
    return found


def _record(shot: Shot) -> dict[str, Any]:
    """What result.json says of a shot."""
    return {"start": shot.start, "stop": shot.stop, "unit": shot.result.unit, **shot.about}
