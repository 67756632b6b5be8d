"""The skeleton of a command: a result folder, progress, one line at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .progress import Progress
from .results import ResultFolder, result_folder


@dataclass(frozen=True)
class Flags:
    """How a command writes, and how verbose it is.

    Attributes:
        overwrite: replace existing results.
        resume: skip a finished result, continue an interrupted one.
        quiet: print errors only.
    """

    overwrite: bool = False
    resume: bool = False
    quiet: bool = False


def count(number: int, noun: str) -> str:
    """The number with its noun: ``1 frame``, ``2 frames``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def _typed_arguments() -> list[str]:
    """What was typed after the program's name; empty outside of the command line."""
    context = click.get_current_context(silent=True)
    return list(context.obj["typed"]) if context is not None and context.obj else []


def run_command(
    name: str,
    output: Path,
    settings: Mapping[str, Any],
    inputs: Sequence[str | os.PathLike[str]],
    flags: Flags,
    body: Callable[[ResultFolder, Progress], str],
    shown: Path | None = None,
) -> ResultFolder | None:
    """Make a result and print one line about it; None where it was finished already.

    Args:
        name: of the command.
        output: the result's folder.
        settings: resolved, saved as config.toml.
        inputs: files and folders it is made from.
        flags: see `Flags`.
        body: makes the result and returns a summary of it, without the folder and the seconds.
        shown: what the line names in place of `output`.

    Raises:
        OutputError: see `result_folder`.
    """
    shown = output if shown is None else shown
    line = f"{shown}: finished already, skipped"
    with Progress(flags.quiet) as progress:
        made = result_folder(
            output, name, settings, inputs, flags.overwrite, flags.resume, arguments=_typed_arguments()
        )
        with made as result:
            if result is not None:
                line = f"{shown}: {body(result, progress)} in {sum(progress.seconds.values()):.1f} s"
    if not flags.quiet:
        click.echo(line)
    return result
