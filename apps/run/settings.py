"""Command-line options generated from frozen configs, and the TOML files that set them.

A typed option overrides ``--config FILE.toml``, which overrides the default. A file's values are parsed as if they
were typed, so both get the same checks. At the top level of a file are the command's own settings, in a table
``[part]`` those of each config, so that fields of two configs never collide. A config or single fields may be left to
the file: they have no option.

Lists have one form everywhere: values separated by commas, or the option repeated, or both (``list_option``).
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from itertools import chain
from pathlib import Path
from types import UnionType
from typing import Any, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import click

from trackime.config import help_of
from trackime.errors import InputError

_Config = TypeVar("_Config")
Function = Callable[..., Any]
Decorator = Callable[[Function], Function]
_Settings: TypeAlias = "Mapping[str, click.Parameter | _Settings]"

_NOT_SETTINGS = ("video", "output", "config", "overwrite", "resume", "quiet", "debug", "offline", "help")
"""Parameters that say where to write and how verbosely, not what: they are not part of a result's config."""

_SCALARS = (bool, int, float, str, Path)


@dataclass(frozen=True)
class _Part:
    """A field of a config that has a table of its own in config files."""

    table: str
    config: type
    key: str


class _Option(click.Option):
    """The option of a config's field, listed under a heading in the help."""

    def __init__(self, *args: Any, heading: str, part: _Part, **kwargs: Any) -> None:
        self.heading, self.part = heading, part
        super().__init__(*args, **kwargs)


class _FileOption(_Option):
    """A setting of config files that cannot be typed."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        pass

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return f"[{self.part.table}] {self.part.key}"


class Command(click.Command):
    """A command whose help lists options by heading, and whose ``--config`` file may set any of its settings.

    Its function gets settings in the order of the help, and each config as one argument by the name of its table.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        typed = [name for p in self.params if not isinstance(p, _FileOption) for name in (*p.opts, *p.secondary_opts)]
        twice = sorted({name for name in typed if typed.count(name) > 1})
        if twice:
            raise TypeError(f"{self.name}: two options called {twice[0]}: leave one to config files (file_only)")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        values: dict[str, Any] = {}
        parts: dict[str, tuple[type, dict[str, Any]]] = {}
        for param in self.params:
            if param.name not in ctx.params:
                continue
            value, part = ctx.params.pop(param.name), getattr(param, "part", None)
            if part is None:
                values[param.name] = value
            else:
                values[part.table] = None  # keeps its place
                parts.setdefault(part.table, (part.config, {}))[1][part.key] = value
        ctx.params.update(values)
        if not ctx.resilient_parsing:
            ctx.params.update({table: _build(*made) for table, made in parts.items()})
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):  # the usage line names those
                groups.setdefault(getattr(param, "heading", "") or "Options", []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=34)

    def settings(self) -> dict[str, Any]:
        """The parameters that a config file may set, by key; those of a table in a mapping by the table's name."""
        found: dict[str, Any] = {}
        for param in self.params:
            part = getattr(param, "part", None)
            if part is not None:
                found.setdefault(part.table, {})[part.key] = param
            elif param.name and param.name not in _NOT_SETTINGS:
                found[param.name] = param
        return found


class _List(click.ParamType):
    """Values of one type separated by commas (numbers by blanks, too), as a tuple; an empty string is none."""

    name = "list"

    def __init__(self, item: Any) -> None:
        self.item = click.types.convert_type(item)
        self.numbers = {click.INT: "whole numbers", click.FLOAT: "numbers"}.get(self.item)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"[{'|'.join(self.item.choices)}],..." if isinstance(self.item, click.Choice) else "A,B,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        typed = str(value).replace(" ", ",") if self.numbers else str(value)
        try:
            return tuple(self.item.convert(item.strip(), param, ctx) for item in typed.split(",") if item.strip())
        except click.BadParameter:
            if not self.numbers:
                raise
            self.fail(f"expected {self.numbers} separated by commas, got {value!r}", param, ctx)


def _join(ctx: click.Context, param: click.Parameter, values: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    return tuple(chain.from_iterable(values))


def list_option(*names: str, type: Any, cls: type[click.Option] = click.Option, **settings: Any) -> Decorator:
    """An option with a list of values of `type`: ``--format csv,json``, ``--format csv --format json``, or both.

    Not for values that may hold commas themselves (prompts, file names): those are repeated only.

    Args:
        names: as of `click.option`.
        type: of one value, anything that click takes.
        settings: more of `click.option`.
    """
    settings["help"] = f"{settings.get('help', '').rstrip('.')} (separate by commas, or repeat the option)."
    return click.option(*names, cls=cls, type=_List(type), multiple=True, callback=_join, **settings)


def _default(item: Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _kind_of(config: type, item: Field[Any], kind: Any) -> tuple[type, bool]:
    """The type of a field's value and whether it is a list of them.

    Raises:
        TypeError: a type that no option has.
    """
    origin, members = get_origin(kind), get_args(kind)
    listed = origin is tuple and len(members) == 2 and members[1] is Ellipsis
    if listed:
        plain = [members[0]]
    elif origin in (Union, UnionType):
        plain = [member for member in members if member is not type(None)]
    else:
        plain = [kind]
    if str in plain and set(plain) <= {str, int, float}:
        plain = [str]  # the config reads it
    if len(plain) != 1 or plain[0] not in _SCALARS:
        allowed = ", ".join(scalar.__name__ for scalar in _SCALARS)
        raise TypeError(f"{config.__name__}.{item.name}: expected one of {allowed} or a tuple[..., ...], got {kind}")
    return plain[0], listed


def _option_of(config: type, item: Field[Any], kind: Any, heading: str, table: str, file_only: bool) -> Decorator:
    """The option of one field: a switch for bool, a choice where it has choices, a list for tuples."""
    value, listed = _kind_of(config, item, kind)
    flag = (f"{table}." if file_only else "") + item.name.replace("_", "-")
    default, choices = _default(item), item.metadata.get("choices", ())
    part, name = _Part(table, config, item.name), f"{table}__{item.name}"
    settings: dict[str, Any] = {"help": help_of(item), "default": default, "heading": heading, "part": part}
    settings["cls"], settings["hidden"] = (_FileOption if file_only else _Option), file_only
    settings["show_default"] = default not in ("", None)
    if value is bool:
        return click.option(f"--{flag}/--no-{flag}", name, **settings)
    kind_of_value: Any = click.Choice([str(choice) for choice in choices]) if choices else value
    if listed:
        settings["show_default"] = ",".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in default) or "none"
        return list_option(f"--{flag}", name, type=kind_of_value, **settings)
    if value is Path:
        kind_of_value = click.Path(path_type=Path)
    return click.option(f"--{flag}", name, type=kind_of_value, **settings)


def config_options(heading: str, config: type, table: str, file_only: Sequence[str] = ()) -> Decorator:
    """A decorator that adds an option for every field of `config`.

    Args:
        heading: of the options in the help.
        config: a frozen dataclass.
        table: its name in config files; the command, a `Command`, gets the config as an argument of that name.
        file_only: fields that only config files set.

    Raises:
        TypeError: a field of a type that no option has.
    """

    hints = get_type_hints(config)
    options = [(item, hints[item.name], heading, table, item.name in file_only) for item in fields(config)]
    return every([_option_of(config, *option) for option in options])


def every(options: Iterable[Decorator]) -> Decorator:
    """One decorator of many, listed in their order."""
    return lambda function: functools.reduce(lambda f, add: add(f), reversed([*options]), function)


def _build(config: Callable[..., _Config], values: Mapping[str, Any]) -> _Config:
    """The config of these fields. Raises click.UsageError for a value that it refuses."""
    try:
        return config(**values)
    except InputError as error:
        raise click.UsageError(str(error), click.get_current_context(silent=True)) from None


def read_config(path: str | Path, command: Command) -> dict[str, Any]:
    """The settings of `command` in a TOML file, as they would be typed, by the parameters' names.

    Raises:
        click.UsageError: no such file, no TOML, a key that is no setting, a table for a value or a value for a table.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path}: not a TOML file: {error}") from None
    return _read_table(path, values, command.settings())


def _read_table(path: str | Path, values: Mapping[str, Any], allowed: _Settings, table: str = "") -> dict[str, Any]:
    place = f"{path}: [{table}]" if table else f"{path}"
    read: dict[str, Any] = {}
    for key, value in values.items():
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(sorted(allowed))}"
            raise click.UsageError(f"{place}: unknown key {key!r}: {hint}")
        setting = allowed[key]
        if isinstance(setting, click.Parameter):
            if isinstance(value, dict):
                raise click.UsageError(f"{place}: {key}: expected a value, got a table")
            read[str(setting.name)] = _typed(value, setting.multiple)
        elif isinstance(value, dict):
            read |= _read_table(path, value, setting, key)
        else:
            raise click.UsageError(f"{place}: {key}: expected a table, got {value!r}")
    return read


def _typed(value: Any, multiple: bool) -> Any:
    if multiple:
        return [_typed(item, False) for item in (value if isinstance(value, list) else [value])]
    return str(value).lower() if isinstance(value, bool) else str(value)
