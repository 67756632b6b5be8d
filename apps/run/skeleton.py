"""The skeleton of a command: a result folder, progress, one line at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .progress import Progress
from .results import Result, result_folder


@dataclass(frozen=True)
class Flags:
    """How a command writes and speaks.

    Attributes:
        overwrite: replace what is there.
        resume: skip what is finished, go on with what was interrupted.
        quiet: nothing but errors.
    """

    overwrite: bool = False
    resume: bool = False
    quiet: bool = False


def run_command(
    name: str,
    output: Path,
    settings: Mapping[str, Any],
    inputs: Sequence[str | os.PathLike[str]],
    flags: Flags,
    body: Callable[[Result, Progress], str],
) -> None:
    """Make a result and say in one line what came of it.

    Args:
        name: of the command.
        output: the result's folder.
        settings: resolved, saved as config.toml.
        inputs: files and folders it is made from.
        flags: see `Flags`.
        body: makes the result; gives what to say of it, without the folder and the seconds.

    Raises:
        OutputError: see `result_folder`.
    """
    line = f"{output}: finished already, skipped"
    with Progress(flags.quiet) as progress:
        with result_folder(output, name, settings, inputs, flags.overwrite, flags.resume) as result:
            if result is not None:
                line = f"{output}: {body(result, progress)} in {sum(progress.seconds.values()):.1f} s"
    if not flags.quiet:
        click.echo(line)
