"""`trackime-apps vos --correct`: a finished result corrected by clicks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ..run import (
    Command,
    Flags,
    Progress,
    Prompt,
    ResultFolder,
    count,
    read_config,
    read_record,
    run_command,
    to_queries,
)
from ._vos_result import VosTask, write_result

_ALLOWED = ("video", "output", "correct", "device", "quiet", "debug", "offline")
"""What may be typed along with --correct: everything else is the finished result's."""


def typed(name: str) -> bool:
    """Whether an option was typed, rather than read from a config."""
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def check_correction(video: Sequence[str], output: Path) -> None:
    """Refuse --correct beside options that a finished result has decided."""
    params = click.get_current_context().command.params
    others = [p.opts[-1] for p in params if p.name and p.name not in _ALLOWED and typed(p.name)]
    if others:
        raise click.UsageError(f"--correct and {others[0]} exclude each other: the settings are those of {output}")
    if len(video) > 1:
        raise click.UsageError(f"--correct: expected one VIDEO, got {len(video)}")


def correct_result(video: str, output: Path, clicks: Sequence[Prompt], device: str, quiet: bool) -> None:
    """Replace the finished result in `output` by one corrected by `clicks`."""
    context = click.get_current_context()
    command = context.command
    assert isinstance(command, Command)
    record = read_record(output)
    if record is None or record.get("command") != "vos":
        raise click.UsageError(f"--correct: expected {output} to be a finished result of vos, found none")
    saved = read_config(output / "config.toml", command)
    with command.make_context("vos", [video, "-o", str(output)], context.parent, default_map=saved) as again:
        values = {**again.params, "device": device}
    settings = {name: values[name] for name in command.settings() if name in values}
    settings["correct"] = (*values["correct"], *clicks)
    task = VosTask.of(values)

    def body(result: ResultFolder, progress: Progress) -> str:
        from trackime.video import open_video

        from ..vos import EditedMasks, Prompts, correct, load

        points, labels = to_queries(clicks, default_id=1)
        with open_video(video) as opened:
            after = correct(opened, load(output), Prompts(points=points, labels=labels), progress=progress, **task.how)
            assert isinstance(after.ids, EditedMasks)
            write_result(result, opened, after, task, progress)
        return f"{count(len(after.ids.changed), 'frame')} corrected"

    run_command("vos", output, settings, [video], Flags(overwrite=True, quiet=quiet), body)
