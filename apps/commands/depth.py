"""`trackime-apps depth`: consistent depth, cameras and a point cloud from a video."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from trackime.dense import DEFAULT_TRACKER, DenseConfig
from trackime.progress import Report

from ..depth import DepthConfig, DepthRequest, Exports
from ..depth.solver import SolverConfig
from ..depth.source import Source
from ..run import (
    Command,
    Flags,
    Progress,
    ResultFolder,
    check_names,
    compute_options_with,
    config_options,
    count,
    describe,
    output_options,
    run_command,
    tracks_option,
)

if TYPE_CHECKING:
    from trackime.types import Tracks
    from trackime.video import Video

    from ..depth import DepthResult

_SOLVER_FILE_ONLY = [field.name for field in fields(SolverConfig) if field.name != "grid"]
"""A user may need a coarser or finer grid of handles; what else the solver can do is set in files, table [solver]."""


@click.command("depth", cls=Command)
@click.argument("video")
@output_options()
@click.option("--depth-model", metavar="NAME|FOLDER",
              help="Start from a network's depth, see `models list`; none: from the video's parallax.")  # fmt: skip
@click.option("--depth-folder", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Start from depth maps made elsewhere: npz, npy, png, exr, pfm, dpt.")  # fmt: skip
@click.option("--depth-kind", type=click.Choice(("depth", "disparity", "metric")),
              help="What the folder's values are; none: as its sidecar says, or depth up to a scale.")  # fmt: skip
@click.option("--depth-scale", type=float, help="Factor of the folder's values; none: as its sidecar says, or 1.")
@click.option("--focal", type=float, metavar="PX", help="The focal length in pixels, kept as it is.")
@click.option("--fov", type=float, metavar="DEG", help="The focal length as a horizontal angle of view.")
@click.option("--intrinsics", type=click.Path(path_type=Path), metavar="FILE",
              help="The focal length of intrinsics.json, a 3x3 matrix, cameras.txt or transforms.json.")  # fmt: skip
@compute_options_with(DEFAULT_TRACKER)
@tracks_option
@config_options("Depth", DepthConfig, table="depth")
@config_options("Points", DenseConfig, table="dense", file_only=["cuts"])
@config_options("Files", Exports, table="exports")
@config_options("Solver", SolverConfig, table="solver", file_only=_SOLVER_FILE_ONLY)
def command(video: str, output: Path, overwrite: bool, resume: bool, quiet: bool, **settings: Any) -> None:
    """Estimate depth and cameras of VIDEO (a file, or a folder of frames) that agree over all of its frames.

    Without --depth-model or --depth-folder depth comes from parallax: the camera has to move from its place. OUT gets
    depth/NAME.npz, depth_png, dynamic, images, depth.mp4, cameras.tum, intrinsics.json, cloud.ply, colmap/sparse/0,
    transforms.json, overlay.mp4, sheet.png, frames.csv, config.toml and result.json. A video with cuts gets a folder
    of these for each shot.
    """
    model, exports = settings["depth_model"], settings["exports"]
    source = Source(model, settings["depth_folder"], settings["depth_kind"], settings["depth_scale"])
    names = ("depth", "dense", "solver", "tracker", "segmenter", "device")
    request = DepthRequest(source=source, **{name: settings[name] for name in names})
    check_names(settings["tracker"], settings["segmenter"])
    inputs = [video, *(settings[name] for name in ("depth_folder", "intrinsics", "tracks") if settings[name])]
    if model and Path(model).is_dir():
        inputs.append(model)

    def body(result: ResultFolder, progress: Progress) -> str:
        from trackime.video import open_video

        from ..depth import resolve_focal
        from ..run import load_tracks

        with open_video(video) as opened:
            focal = resolve_focal(settings["focal"], settings["fov"], settings["intrinsics"], opened.info)
            known = None if settings["tracks"] is None else load_tracks(settings["tracks"], opened.info)
            found = depth_into(result, opened, replace(request, focal=focal), exports, progress, known)
        shots = f" in {count(len(found.shots), 'shot')}" if len(found.shots) > 1 else ""
        return f"depth of {count(len(found), 'frame')}{shots}"

    run_command("depth", output, settings, inputs, Flags(overwrite, resume, quiet), body)


def depth_into(
    result: ResultFolder,
    video: Video,
    request: DepthRequest,
    exports: Exports,
    progress: Progress,
    tracks: Tracks | None = None,
) -> DepthResult:
    """Estimate depth, and write all of a `depth` result but what every result has.

    Args:
        result: where to write; points, first cameras and initial maps in its checkpoint are reused.
        video: of T frames.
        request: how.
        exports: the files beside the maps.
        progress: called with (stage, done, total); measures the stages.
        tracks: used instead of tracking points.
    """
    from trackime.devices import resolve_device

    from ..depth import estimate
    from ..depth.files import check

    place = str(resolve_device(request.device))
    check(exports, video.info.names)
    found = estimate(video, request, result.folder, tracks=tracks, work=result.checkpoint, progress=progress)
    for shot in found.shots:
        with progress.stage("exporting"):
            shot.export(exports, progress)
    with progress.stage("overlay"):
        _write_pictures(result.folder, video, found, progress)
    describe(result, video, place, progress)
    result.record["shots"] = [
        {"start": shot.start, "stop": shot.stop, "unit": shot.folder.unit, **shot.about} for shot in found.shots
    ]
    return found


def _write_pictures(folder: Path, video: Video, found: DepthResult, report: Report) -> None:
    """overlay.mp4 and sheet.png: each frame beside its depth, one range of colours for each shot."""
    from trackime.video import VideoWriter

    from ..depth.files import DepthColours
    from ..run import Sheet

    wide = replace(video.info, width=2 * video.info.width)
    sheet = Sheet(wide)
    with VideoWriter(folder / "overlay.mp4", wide.width, wide.height, pts=wide.pts) as writer:
        for shot in found.shots:
            colours = DepthColours.of(shot.folder.depth_range())
            for t in range(len(shot.folder)):
                picture = np.concatenate([shot.folder.image(t), colours(shot.folder.depth(t))], 1)
                writer.write(picture)
                sheet.take(shot.start + t, picture)
                report("overlay", shot.start + t + 1, len(video))
    sheet.save(folder / "sheet.png")
