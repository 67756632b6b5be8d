"""Options made from configs, and TOML over them."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.config import check_choices, option
from trackime.errors import InputError
from trackime_apps.run import Command, build_config, config_options, output_options
from trackime_apps.run.options import to_toml


@dataclass(frozen=True)
class Toy:
    """A config with a field of every kind."""

    fuse: bool = option(True, "average outputs; off: the finest alone")
    count: int = option(3, "how many")
    share: float = option(0.25, "share of the side")
    mode: str = option("fast", "which way", ("fast", "slow"))
    sides: tuple[int, ...] = option((8, 16), "sides in pixels")
    limit: int | None = option(None, "at most")

    def __post_init__(self) -> None:
        check_choices(self)
        if self.count < 1:
            raise InputError(f"count: expected 1 or more, got {self.count}")


@dataclass(frozen=True)
class Other:
    """Another config that shares a field."""

    count: int = option(3, "how many")
    extra: str = option("", "more")


@click.command(cls=Command)
@click.argument("video", default="v")
@output_options(default="out")
@click.option("--name", multiple=True)
@config_options("Method", Toy, Other)
def command(**values: Any) -> None:
    click.echo(repr((build_config(Toy, values), build_config(Other, values), values["name"])))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, arguments)
    return result.exit_code, result.output


def overlay(tmp_path: Path, text: str, *arguments: str) -> tuple[int, str]:
    path = tmp_path / "c.toml"
    path.write_text(text)
    return run("--config", str(path), *arguments)


def test_without_arguments_the_defaults_hold() -> None:
    assert run() == (0, repr((Toy(), Other(), ())) + "\n")


def test_every_field_is_an_option() -> None:
    typed = ["--no-fuse", "--count", "5", "--share", ".5", "--mode", "slow", "--sides", "4,5 6", "--limit", "9"]
    assert run(*typed)[1] == repr((Toy(False, 5, 0.5, "slow", (4, 5, 6), 9), Other(5), ())) + "\n"
    assert "sides=()" in run("--sides", "")[1]


def test_the_help_lists_fields_under_their_heading_with_defaults() -> None:
    text = " ".join(run("--help")[1].split())
    before, after = text.split("Method:")
    assert "--output" in before
    for part in ("--fuse / --no-fuse", "average outputs; off: the finest alone", "[default: (8,16)]", "[fast|slow]"):
        assert part in after


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--count", "x"], "--count"),
        (["--count", "0"], "count: expected 1 or more, got 0"),
        (["--mode", "both"], "'fast', 'slow'"),
        (["--sides", "1,b"], "whole numbers"),
        (["--nope"], "--nope"),
    ],
)
def test_bad_values_are_usage_errors(typed: list[str], said: str) -> None:
    code, text = run(*typed)
    assert code == 2 and said in text


def test_the_command_line_wins_over_the_file_and_that_over_defaults(tmp_path: Path) -> None:
    text = 'fuse = false\ncount = 7\nmode = "slow"\nsides = [1, 2]\nname = ["a", "b"]\n'
    assert overlay(tmp_path, text)[1] == repr((Toy(False, 7, 0.25, "slow", (1, 2)), Other(7), ("a", "b"))) + "\n"
    got = overlay(tmp_path, text, "--fuse", "--count", "9", "--name", "c")[1]
    assert got == repr((Toy(True, 9, 0.25, "slow", (1, 2)), Other(9), ("c",))) + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("conut = 3", "unknown key 'conut': did you mean 'count'?"),
        ("zzz = 3", "unknown key 'zzz': expected one of count, extra"),
        ("output = 'x'", "unknown key 'output'"),
        ("count = 3.5", "--count"),
        ("count = true", "--count"),
        ("count = 0", "count: expected 1 or more"),
        ("mode = 'both'", "'fast', 'slow'"),
        ("[count]\na = 1", "got a table"),
        ("count = ", "not a TOML file"),
        ("count = [1]\ncount = 2", "not a TOML file"),
    ],
)
def test_a_bad_file_is_a_usage_error(tmp_path: Path, text: str, said: str) -> None:
    code, output = overlay(tmp_path, text)
    assert code == 2 and said in output


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    code, output = run("--config", str(tmp_path / "gone.toml"))
    assert code == 2 and "gone.toml" in output


SCALARS = st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text()


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), SCALARS | st.lists(SCALARS, max_size=3)))
def test_what_is_written_reads_back(values: dict[str, Any]) -> None:
    try:
        text = to_toml(values)
        text.encode()
    except UnicodeEncodeError:  # lone surrogates are no text
        return
    assert tomllib.loads(text) == values


def test_none_is_left_out_and_tables_are_refused() -> None:
    assert to_toml({"a": None, "b": Path("x") / "y", "c": (1, 2)}) == 'b = "x/y"\nc = [1, 2]\n'
    with pytest.raises(TypeError):
        to_toml({"a": {}})
