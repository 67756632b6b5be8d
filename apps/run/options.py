"""Command-line options made from frozen configs, and the TOML files that overlay them.

What the command line says wins over ``--config FILE.toml``, and that over the defaults. A file's values are read as
if they were typed, so both are checked alike.
"""

from __future__ import annotations

import difflib
import functools
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import click

from trackime.checkpoints import store as models
from trackime.config import help_of
from trackime.errors import InputError
from trackime.ime import DEFAULT_SEGMENTER, DEFAULT_TRACKER

_Config = TypeVar("_Config")
_Function = Callable[..., Any]

_NOT_SETTINGS = ("video", "output", "config", "overwrite", "resume", "quiet", "debug", "offline", "help")
"""Parameters that say where to and how loudly, not what: they are not part of a result's config."""


class _Option(click.Option):
    """An option that is listed under a heading of its own in the help."""

    def __init__(self, *args: Any, heading: str = "", **kwargs: Any) -> None:
        self.heading = heading
        super().__init__(*args, **kwargs)


class Command(click.Command):
    """A command whose help lists options by heading, and whose ``--config`` file may set any of its settings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):  # the usage line names those
                groups.setdefault(getattr(param, "heading", "") or "Options", []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=34)

    def settings(self) -> dict[str, click.Parameter]:
        """The parameters that a config file may set, by name."""
        return {p.name: p for p in self.params if p.name and p.name not in _NOT_SETTINGS}


class _Numbers(click.ParamType):
    """Numbers separated by commas or blanks, as a tuple; an empty string is none."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.name = "numbers"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "A,B,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        items = value.replace(",", " ").split() if isinstance(value, str) else value
        try:
            return tuple(self.kind(item) for item in items)
        except (TypeError, ValueError):
            kind = "whole numbers" if self.kind is int else "numbers"
            self.fail(f"expected {kind} separated by commas, got {value!r}", param, ctx)


def _default(item: Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _option_of(item: Field[Any], kind: Any, heading: str) -> Callable[[_Function], _Function]:
    """The option of one field: a switch for bool, a choice where it has choices, a list for tuples."""
    flag, default, choices = item.name.replace("_", "-"), _default(item), item.metadata.get("choices", ())
    settings: dict[str, Any] = {"help": help_of(item), "default": default, "heading": heading}
    settings["show_default"] = default not in ("", None)
    if kind is bool:
        return click.option(f"--{flag}/--no-{flag}", item.name, cls=_Option, **settings)
    if choices:
        settings["type"] = click.Choice([str(choice) for choice in choices])
    elif get_origin(kind) is tuple:
        settings["type"] = _Numbers(get_args(kind)[0])
        settings["show_default"] = ",".join(f"{value:.4g}" for value in default) or "none"
    else:
        plain = [member for member in get_args(kind) if member is not type(None)]  # X | None
        settings["type"] = plain[0] if plain else kind
    return click.option(f"--{flag}", item.name, cls=_Option, **settings)


def config_options(heading: str, *configs: type, skip: Sequence[str] = ()) -> Callable[[_Function], _Function]:
    """A decorator that adds an option for every field of `configs`; a name two of them share is one option."""

    def decorate(function: _Function) -> _Function:
        todo: dict[str, tuple[Field[Any], Any]] = {}
        for config in configs:
            hints = get_type_hints(config)
            for item in fields(config):
                if item.name not in skip:
                    todo.setdefault(item.name, (item, hints[item.name]))
        for item, kind in reversed(todo.values()):
            function = _option_of(item, kind, heading)(function)
        return function

    return decorate


def build_config(config: Callable[..., _Config], values: Mapping[str, Any]) -> _Config:
    """The config made of those `values` that are its fields.

    Raises:
        click.UsageError: a value the config refuses.
    """
    names = {item.name for item in fields(config)}  # type: ignore[arg-type]
    try:
        return config(**{name: value for name, value in values.items() if name in names})
    except InputError as error:
        raise click.UsageError(str(error)) from None


def in_order(values: Mapping[str, Any]) -> dict[str, Any]:
    """The running command's settings in the order of its help, not in the order they were typed."""
    command = click.get_current_context().command
    assert isinstance(command, Command)
    return {name: values[name] for name in command.settings() if name in values}


def _load_config(ctx: click.Context, _param: click.Parameter, path: str | None) -> str | None:
    """Callback of ``--config``: the file becomes the defaults of what was not typed."""
    if path is None:
        return None
    assert isinstance(ctx.command, Command)
    ctx.default_map = read_config(path, ctx.command.settings())
    return path


def read_config(path: str | Path, allowed: Mapping[str, click.Parameter]) -> dict[str, Any]:
    """The settings of a flat TOML file as they would be typed.

    Raises:
        click.UsageError: no such file, no TOML, a key that is not in `allowed`, a table as a value.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path}: not a TOML file: {error}") from None
    for key, value in values.items():
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(sorted(allowed))}"
            raise click.UsageError(f"{path}: unknown key {key!r}: {hint}")
        if isinstance(value, dict):
            raise click.UsageError(f"{path}: {key}: expected a value, got a table")
    return {key: _typed(value, allowed[key].multiple) for key, value in values.items()}


def _typed(value: Any, multiple: bool) -> Any:
    if multiple:
        return [_typed(item, False) for item in (value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        return ",".join(_typed(item, False) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def to_toml(values: Mapping[str, Any]) -> str:
    """Flat TOML: bool, int, float, str, paths, and lists of them; None is left out.

    Raises:
        TypeError: any other type of value.
    """
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items() if value is not None)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)  # repr of a float is the shortest text that reads back the same; inf and nan are TOML
    if isinstance(value, str | Path):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    raise TypeError(f"no TOML for {type(value).__name__}")


def _debug(ctx: click.Context, _param: click.Parameter, on: bool) -> bool:
    if on and isinstance(ctx.obj, dict):
        ctx.obj["debug"] = True
    return on


def output_options(
    default: str | None = None, what: str = "Folder of the results."
) -> Callable[[_Function], _Function]:
    """The options of where results go (`what` that is) and how loudly, which every command has."""
    choices: list[Callable[[_Function], _Function]] = [
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            required=default is None,
            default=default,
            show_default=default is not None,
            help=what,
        ),
        click.option("--overwrite", is_flag=True, help="Replace results that are there already."),
        click.option(
            "--resume", is_flag=True, help="Skip what is finished, go on with what was interrupted (keeps checkpoints)."
        ),
        click.option(
            "--config",
            metavar="FILE.toml",
            is_eager=True,
            callback=_load_config,
            expose_value=False,
            help="Settings from a file, such as the config.toml beside a result.",
        ),
        click.option("--quiet", is_flag=True, help="Nothing but errors."),
        debug_option,
    ]
    return lambda function: functools.reduce(lambda f, add: add(f), reversed(choices), function)


debug_option = click.option(
    "--debug", is_flag=True, is_eager=True, callback=_debug, expose_value=False, help="Show where an error came from."
)


def _offline(ctx: click.Context, _param: click.Parameter, on: bool) -> bool:
    if on:
        ctx.with_resource(models.offline())
    return on


offline_option = click.option(
    "--offline",
    is_flag=True,
    callback=_offline,
    expose_value=False,
    help="Download no checkpoint: fail where one is not here.",
)


_device_option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]|mps",
    help="Where to compute; a device asked for by name never falls back.",
)  # fmt: skip


def compute_options_with(tracker: str) -> Callable[[_Function], _Function]:
    """The options of what computes, for an application that follows points best by `tracker`."""
    choices = [
        _device_option,
        click.option("--tracker", default=tracker, show_default=True, metavar="NAME[:FILE]",
                     help="Point tracker; trackime-apps doctor lists them."),
        click.option("--segmenter", default=DEFAULT_SEGMENTER, show_default=True, metavar="NAME[:FILE]",
                     help="Segmenter that groups points by instance."),
        offline_option,
    ]  # fmt: skip
    return lambda function: functools.reduce(lambda f, add: add(f), reversed(choices), function)


compute_options = compute_options_with(DEFAULT_TRACKER)
"""The options of what computes."""


tracks_option = click.option(
    "--tracks", type=click.Path(path_type=Path), metavar="FILE.npz", help="Reuse these tracks instead of tracking."
)
