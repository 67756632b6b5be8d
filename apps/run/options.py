"""The options that commands share, each defined once."""

from __future__ import annotations

from pathlib import Path

import click

from trackime.checkpoints import store as models
from trackime.errors import UnknownNameError
from trackime.ime import DEFAULT_SEGMENTER, DEFAULT_TRACKER

from .settings import Command, Decorator, every, read_config


def _load_config(ctx: click.Context, _param: click.Parameter, path: str | None) -> str | None:
    """Callback of ``--config``: the file's values become the defaults of what was not typed."""
    if path is None:
        return None
    assert isinstance(ctx.command, Command)
    ctx.default_map = read_config(path, ctx.command)
    return path


def _debug(ctx: click.Context, _param: click.Parameter, on: bool) -> bool:
    if on and isinstance(ctx.obj, dict):
        ctx.obj["debug"] = True
    return on


def _offline(ctx: click.Context, _param: click.Parameter, on: bool) -> bool:
    if on:
        ctx.with_resource(models.offline())
    return on


debug_option = click.option(
    "--debug", is_flag=True, is_eager=True, callback=_debug, expose_value=False, help="Show where an error came from."
)
quiet_option = click.option("--quiet", is_flag=True, help="Print errors only.")
offline_option = click.option(
    "--offline", is_flag=True, callback=_offline, expose_value=False,
    help="Download no checkpoint: fail where one is not in the cache.",
)  # fmt: skip
tracks_option = click.option(
    "--tracks", type=click.Path(path_type=Path), metavar="FILE.npz", help="Reuse these tracks instead of tracking."
)


def device_option(help: str = "Device to compute on; one named explicitly never falls back.") -> Decorator:
    """``--device``."""
    return click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]|mps", help=help)


def output_options(default: str | None = None, what: str = "Folder of the results.") -> Decorator:
    """Where results go (`what` that is), and how verbose a command is."""
    return every([
        click.option("-o", "--output", type=click.Path(path_type=Path), required=default is None, default=default,
                     show_default=default is not None, help=what),
        click.option("--overwrite", is_flag=True, help="Replace existing results."),
        click.option("--resume", is_flag=True,
                     help="Skip finished results, continue interrupted ones (keeps checkpoints)."),
        click.option("--config", metavar="FILE.toml", is_eager=True, callback=_load_config, expose_value=False,
                     help="Read settings from a file, such as the config.toml of a result."),
        quiet_option,
        debug_option,
    ])  # fmt: skip


def compute_options_with(tracker: str) -> Decorator:
    """Device, tracker, segmenter and downloads, for an application whose default tracker is `tracker`."""
    return every([
        device_option(),
        click.option("--tracker", default=tracker, show_default=True, metavar="NAME[:FILE]",
                     help="Point tracker; trackime-apps doctor lists them."),
        click.option("--segmenter", default=DEFAULT_SEGMENTER, show_default=True, metavar="NAME[:FILE]",
                     help="Segmenter that groups points by instance."),
        offline_option,
    ])  # fmt: skip


compute_options = compute_options_with(DEFAULT_TRACKER)
"""Device, tracker, segmenter and downloads, with the toolkit's default tracker."""


def is_cached(name: str) -> bool:
    """Whether a checkpoint of the registry can be used without a download."""
    return models.state(name) not in (models.ABSENT, models.PARTIAL)


def check_names(tracker: str, segmenter: str) -> None:
    """Check the names before anything is read or computed.

    Raises:
        UnknownNameError: a name that no registry has.
    """
    from trackime import segmenters, trackers

    for kind, name, names in (("tracker", tracker, trackers.names()), ("segmenter", segmenter, segmenters.names())):
        if name.partition(":")[0] not in names:
            raise UnknownNameError(kind, name, names)
