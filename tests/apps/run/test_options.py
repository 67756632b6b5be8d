"""Options made from configs, and TOML over them."""

import tomllib
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.config import check_choices, option
from trackime.errors import InputError
from trackime_apps.run import Command, config_options, list_option, output_options
from trackime_apps.run.toml import to_toml


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
class Knobs:
    """A config with a table of its own that only files set, but for one field."""

    count: int = option(2, "another count")
    flat: bool = option(False, "a switch")
    weights: tuple[float, ...] = option((), "weights")
    speed: float = option(1.5, "the one that can be typed")

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"count: expected 1 or more, got {self.count}")


@click.command(cls=Command)
@click.argument("video", default="v")
@output_options(default="out")
@list_option("--name", type=str)
@list_option("--kind", type=click.Choice(["x", "y"]), help="Kinds.")
@config_options("Method", Toy, table="toy")
@config_options("Knobs", Knobs, table="knobs", file_only=["count", "flat", "weights"])
def command(**values: Any) -> None:
    click.echo(repr((values["toy"], values["name"])))
    if values["knobs"] != Knobs() or values["kind"]:
        click.echo(repr((values["knobs"], values["kind"])))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, arguments)
    return result.exit_code, result.output


def overlay(tmp_path: Path, text: str, *arguments: str) -> tuple[int, str]:
    path = tmp_path / "c.toml"
    path.write_text(text)
    return run("--config", str(path), *arguments)


def test_without_arguments_the_defaults_hold() -> None:
    assert run() == (0, repr((Toy(), ())) + "\n")


def test_every_field_is_an_option() -> None:
    typed = ["--no-fuse", "--count", "5", "--share", ".5", "--mode", "slow", "--sides", "4,5 6", "--limit", "9"]
    assert run(*typed)[1] == repr((Toy(False, 5, 0.5, "slow", (4, 5, 6), 9), ())) + "\n"
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
    text = 'name = ["a", "b"]\n[toy]\nfuse = false\ncount = 7\nmode = "slow"\nsides = [1, 2]\n'
    assert overlay(tmp_path, text)[1] == repr((Toy(False, 7, 0.25, "slow", (1, 2)), ("a", "b"))) + "\n"
    got = overlay(tmp_path, text, "--fuse", "--count", "9", "--name", "c")[1]
    assert got == repr((Toy(True, 9, 0.25, "slow", (1, 2)), ("c",))) + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[toy]\nconut = 3", "unknown key 'conut': did you mean 'count'?"),
        ("[toy]\nzzz = 3", "unknown key 'zzz': expected one of count, fuse"),
        ("nmae = 3", "unknown key 'nmae': did you mean 'name'?"),
        ("output = 'x'", "unknown key 'output'"),
        ("[toy]\ncount = 3.5", "--count"),
        ("[toy]\ncount = true", "--count"),
        ("[toy]\ncount = 0", "count: expected 1 or more"),
        ("[toy]\nmode = 'both'", "'fast', 'slow'"),
        ("[name]\na = 1", "got a table"),
        ("knobs = 1", "knobs: expected a table, got 1"),
        ("[knobs]\nconut = 1", "[knobs]: unknown key 'conut': did you mean 'count'?"),
        ("[knobs]\ncount = 'x'", "[knobs] count"),
        ("[knobs]\ncount = 0", "count: expected 1 or more, got 0"),
        ("[knobs]\nweights = ['x']", "numbers separated by commas"),
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


def test_none_is_left_out_configs_are_tables_and_other_types_are_refused() -> None:
    text = to_toml({"a": None, "k": Knobs(4), "b": Path("/x") / "y", "c": (1, 2)})
    assert text == 'b = "/x/y"\nc = [\n    1,\n    2,\n]\n\n[k]\ncount = 4\nflat = false\nweights = []\nspeed = 1.5\n'
    with pytest.raises(TypeError):
        to_toml({"a": object()})


@pytest.mark.parametrize("typed", [["--name", "a,b", "--name", "c"], ["--name", "a, b,c"], ["--name=a,,b", "--name=c"]])
def test_lists_take_commas_and_repetition(typed: list[str]) -> None:
    assert run(*typed)[1].endswith("('a', 'b', 'c'))\n")


def test_lists_check_every_value_and_say_how_to_type_them() -> None:
    assert "('x', 'y', 'x')" in run("--kind", "x,y", "--kind", "x")[1]
    code, text = run("--kind", "x,z")
    assert code == 2 and "'z' is not one of 'x', 'y'" in text
    assert run("--sides", "4", "--sides", "5,6")[1] == repr((Toy(sides=(4, 5, 6)), ())) + "\n"
    text = " ".join(run("--help")[1].split())
    assert "Kinds (separate by commas, or repeat the option)." in text and "[x|y],..." in text


class TestTables:
    def test_a_table_is_one_argument_that_names_never_collide_with(self, tmp_path: Path) -> None:
        text = "[toy]\ncount = 7\n[knobs]\ncount = 9\nflat = true\nweights = [0.5, 1]\nspeed = 3\n"
        made = repr((Toy(count=7), ())) + "\n"
        assert overlay(tmp_path, text)[1] == made + repr((Knobs(9, True, (0.5, 1.0), 3.0), ())) + "\n"
        assert "speed=4.0" in overlay(tmp_path, text, "--speed", "4")[1]

    def test_what_is_left_to_files_cannot_be_typed(self) -> None:
        help = run("--help")[1]
        assert "--speed" in help and "--flat" not in help and "--weights" not in help
        assert run("--flat")[0] == 2 and run("--weights", "1")[0] == 2
        assert "count=5" in run("--count", "5")[1].splitlines()[0]

    def test_two_options_of_one_name_are_an_error_at_import(self) -> None:
        with pytest.raises(TypeError, match="two options called --count"):
            click.command("toy", cls=Command)(
                config_options("A", Toy, table="a")(config_options("B", Knobs, table="b")(lambda **_: 0))
            )

    @pytest.mark.parametrize("kind", ["dict[str, int]", "tuple[int, str]", "int | float", "bytes", "tuple[bytes, ...]"])
    def test_a_field_of_an_unknown_type_is_an_error_at_import(self, kind: str) -> None:
        config = make_dataclass("Odd", [("a", kind, option(None, "odd"))], frozen=True)
        with pytest.raises(TypeError, match=r"Odd\.a: expected one of bool, int"):
            config_options("Odd", config, table="odd")

    def test_what_is_saved_reads_back(self, tmp_path: Path) -> None:
        knobs = Knobs(9, True, (0.5, 1.0), 3.0)
        assert repr(knobs) in overlay(tmp_path, to_toml({"knobs": knobs}))[1]
