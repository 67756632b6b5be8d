"""`trackime-apps vos --correct`: a finished result mended by clicks."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trackime.ime import ImeConfig

from ..run import (
    Command,
    Progress,
    Prompt,
    ResultFolder,
    build_config,
    count,
    read_config,
    read_record,
    result_folder,
    to_queries,
    typed_arguments,
)
from ..vos import MaskFiles, VosConfig, confidence_rows, finish, read_confidence


def typed(name: str) -> bool:
    """Whether an option was typed, rather than read from a config."""
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


_MENDING = ("video", "output", "correct", "device", "quiet", "debug", "offline")
"""What may be typed along with --correct: everything else is the finished result's."""


def check_mending(video: Sequence[str], output: Path) -> None:
    """Refuse --correct beside options that a finished result has decided."""
    params = click.get_current_context().command.params
    others = [p.opts[-1] for p in params if p.name and p.name not in _MENDING and typed(p.name)]
    if others:
        raise click.UsageError(f"--correct and {others[0]} exclude each other: the settings are those of {output}")
    if len(video) > 1:
        raise click.UsageError(f"--correct: expected one VIDEO, got {len(video)}")


def mend(video: str, output: Path, clicks: Sequence[Prompt], device: str, quiet: bool) -> None:
    """The command with ``--correct``."""
    context = click.get_current_context()
    command = context.command
    assert isinstance(command, Command)
    record = read_record(output)
    if record is None or record.get("command") != "vos" or "prompts" not in record:
        raise click.UsageError(f"--correct: expected {output} to be a finished result of vos, found none")
    saved = read_config(output / "config.toml", command)
    with command.make_context("vos", [video, "-o", str(output)], context.parent, default_map=saved) as again:
        values = again.params
    config, ime = build_config(VosConfig, values), build_config(ImeConfig, values)
    settings = {name: values[name] for name in command.settings() if name in values}
    settings.update(correct=(*values["correct"], *clicks), device=device)
    with (
        Progress(quiet) as progress,
        result_folder(output, "vos", settings, [video], overwrite=True, arguments=typed_arguments()) as result,
    ):
        assert result is not None
        changed = _mend_into(result, video, output, record, config, ime, progress, clicks=clicks, **settings)
        line = f"{output}: {count(changed, 'frame')} mended in {sum(progress.seconds.values()):.1f} s"
    if not quiet:
        click.echo(line)


def _mend_into(
    result: ResultFolder,
    source: Any,
    output: Path,
    record: dict[str, Any],
    config: VosConfig,
    ime: ImeConfig,
    progress: Progress,
    *,
    clicks: Sequence[Prompt],
    device: str,
    tracker: str,
    segmenter: str,
    format: Sequence[str] = (),
    **_: Any,
) -> int:
    """Write the result in `output`, mended by `clicks`, as a new result; how many frames changed."""
    from trackime.devices import resolve_device
    from trackime.video import open_video, write_mask

    from ..run import load_tracks
    from ..vos import Edited, Finished, correct

    place = str(resolve_device(device))
    with open_video(source) as video:
        names = video.info.names
        before = Finished(
            tuple(record["objects"]),
            MaskFiles(output / "masks", names),
            read_confidence(output / "confidence.csv", names, record["objects"]),
            load_tracks(output / "tracks.npz", video.info),
            {int(k): list(frames) for k, frames in record["prompts"].items()},
        )
        points, labels = to_queries(clicks, default_id=1)
        with progress.stage("mending"):
            after = correct(
                video, before, points, labels, tracker=tracker, segmenter=segmenter, config=config, ime=ime,
                device=place, progress=progress,
            )  # fmt: skip
        assert isinstance(after.masks, Edited)
        after.tracks.save(result.folder / "tracks.npz")
        shutil.copytree(output / "masks", result.folder / "masks")
        for t in after.masks.changed:
            write_mask(result.folder / "masks" / f"{names[t]}.png", after.masks[t])
        with open(result.folder / "confidence.csv", "w", newline="", encoding="utf-8") as file:
            add = confidence_rows(file, after.objects)
            for t, name in enumerate(names):
                add(t, name, after.confidence[t])
        finish(result, video, MaskFiles(result.folder / "masks", names), after, format, ime, progress, place)
    return len(after.masks.changed)
