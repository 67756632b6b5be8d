"""`trackime-apps models`: list, fetch, verify and locate the checkpoints of the registry."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from trackime.checkpoints import CHECKPOINTS, Checkpoint
from trackime.checkpoints import store as models
from trackime.errors import DownloadError, TrackimeError

from ..run import Command, console, debug_option, is_cached, offline_option, quiet_option

_COLOURS = {models.VERIFIED: "green", models.FETCHED: "green", models.PARTIAL: "yellow", models.UNCHECKED: "yellow"}


class _NameType(click.ParamType):
    """A name of the registry."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return models.find(value).name


@click.group("models")
def command() -> None:
    """Checkpoints of trackers, segmenters and depth: list, fetch, verify, path.

    They are cached in $TRACKIME_HOME, by default in the folder trackime of the user's cache, and downloaded on first
    use; $TRACKIME_OFFLINE=1 or --offline forbids downloads. To use a file of your own: --tracker NAME:FILE.
    """


@command.command("list", cls=Command)
@click.option("--markdown", is_flag=True, help="Print the documentation's table: licences, sizes, published scores.")
@debug_option
def _list_command(markdown: bool) -> None:
    """List every checkpoint of the registry, and whether it is in the cache."""
    if markdown:
        click.echo(_table(), nl=False)
        return
    from rich.table import Table
    from rich.text import Text

    shown = Table("name", "kind", "licence", "size", "here", "model", box=None, pad_edge=False)
    for row in CHECKPOINTS.values():
        state = models.state(row.name)
        licence = Text(row.licence, "" if row.commercial else "yellow")
        cells = (row.kind, licence, _megabytes(row.size), Text(state, _COLOURS.get(state, "")), row.title)
        shown.add_row(row.name, *cells)
    console().print(shown)
    click.echo(f"in {models.home()}")


@command.command("fetch", cls=Command)
@click.argument("names", nargs=-1, type=_NameType(), metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Fetch every checkpoint of the registry.")
@quiet_option
@offline_option
@debug_option
@click.pass_context
def _fetch_command(ctx: click.Context, names: Sequence[str], everything: bool, quiet: bool) -> None:
    """Download checkpoints by NAME."""
    if bool(names) == everything:
        raise click.UsageError("expected names, or --all")
    with _bars(quiet) as report:
        good = _each(names or list(CHECKPOINTS), lambda name: models.fetch(name, report), quiet)
    ctx.exit(0 if good else 1)


@command.command("verify", cls=Command)
@click.argument("names", nargs=-1, type=_NameType(), metavar="[NAME]...")
@quiet_option
@debug_option
@click.pass_context
def _verify_command(ctx: click.Context, names: Sequence[str], quiet: bool) -> None:
    """Compare the digests of checkpoints: those called NAME, by default all in the cache."""
    here = [name for name in CHECKPOINTS if is_cached(name)]
    if not (names or here) and not quiet:
        click.echo(f"no checkpoint in {models.home()}")
    ctx.exit(0 if _each(names or here, models.verify, quiet) else 1)


@command.command("path", cls=Command)
@click.argument("name", type=_NameType(), metavar="NAME")
@debug_option
def _path_command(name: str) -> None:
    """Print the file (or folder) of a checkpoint in the cache."""
    if not is_cached(name):
        raise DownloadError(models.absence(name))
    click.echo(models.locate(name, offline=True))


def _each(names: Sequence[str], work: Callable[[str], Any], quiet: bool) -> bool:
    """Do `work` by name and print its outcome; whether all succeeded. A failure does not stop the others."""
    good = True
    for name in names:
        try:
            result = work(name)
        except TrackimeError as error:
            good = False
            click.echo(f"trackime-apps: {error}", err=True)
        else:
            if not quiet:
                click.echo(f"{name}: {_describe(name, result)}")
    return good


def _describe(name: str, result: Any) -> str:
    trust = "its digest is the published one" if models.state(name) == models.VERIFIED else "trusted on first use"
    return f"{'ok' if isinstance(result, str) else result} ({trust})"


@contextmanager
def _bars(quiet: bool) -> Iterator[models.Report | None]:
    """Progress bars in bytes on stderr, if that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as shown:
        add = functools.cache(lambda label: shown.add_task(label, total=None))
        yield lambda label, done, total: shown.update(add(label), completed=done, total=total)


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:.0f} MB"


def _table() -> str:
    """The checkpoints as a table of Markdown, as in docs/models.md."""
    lines = [
        "| Model | Licence | Parameters | Input | Published TAP-Vid figures, % | Fetch it and use it |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_line, CHECKPOINTS.values())]) + "\n"


def _line(row: Checkpoint) -> str:
    licence = row.licence if row.commercial else f"**{row.licence}: not for commercial use**"
    parameters = "" if row.parameters is None else f"{row.parameters / 1e6:.1f} M"
    figures = ", ".join(f"{name} {value:.1f}" for name, value in row.tapvid)
    if figures:
        figures += f" ([source]({row.tapvid_source}))"
    use = {
        "tracker": f"`trackime-apps track VIDEO --tracker {row.name} -o OUT`",
        "segmenter": f"`trackime-apps vos VIDEO --segmenter {row.name} --point X,Y -o OUT`",
        "depth": f"`trackime-apps depth VIDEO --depth-model {row.name} -o OUT`",
    }[row.kind]
    model = f"[{row.title}]({row.source}) ([paper]({row.paper}))"
    return f"| {model} | {licence} | {parameters} | {row.input_size} | {figures} | {use} |"
