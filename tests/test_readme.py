"""The documentation against the code: Python examples run, command lines parse, links and named files exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from benchmarks.__main__ import main as benchmarks
from trackime.video import VideoWriter, write_mask
from trackime.worlds import make_scene
from trackime_apps.cli import cli

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BENCHMARKS = "python -m benchmarks "
COMMANDS = ("track", "vos", "interpolate", "depth", "demo", "models", "doctor")


def _blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in a language, "" for those without one."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for name, text in fences if name == language]


def _command_lines(page: Path) -> Iterator[list[str]]:
    """What is typed after `trackime-apps` in blocks, and between backticks where anything but the command follows."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in _blocks(page, "") for line in block.splitlines() if line.startswith("trackime-apps ")]
    lines += [line for line in re.findall(r"`(?:[^`\n]* )?(trackime-apps [^`\n]+)`", text) if "|" not in line]
    return (shlex.split(line, comments=True)[1:] for line in lines)


def _parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Parse words as a command does, its groups' too, and run nothing.

    Raises:
        click.UsageError: a command, an option or a value that there is not.
    """
    stand_ins = {"NAME": "tapir", "NAME...": "tapir", "[NAME...]": "tapir", "X,Y": "20,30"}
    given = [stand_ins.get(word, word) for word in words]
    with command.make_context(command.name, given, parent) as context:
        if isinstance(command, click.Group):
            rest = [*context._protected_args, *context.args]
            _, chosen, rest = command.resolve_command(context, rest)
            assert chosen is not None
            _parse(chosen, rest, context)


def _benchmark_lines(page: Path) -> Iterator[list[str]]:
    """What is typed after `python -m benchmarks`, in blocks and between backticks."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in _blocks(page, "") for line in block.splitlines() if line.startswith(_BENCHMARKS)]
    lines += [" ".join(line.split()) for line in re.findall(rf"`({_BENCHMARKS}[^`]+)`", text) if "|" not in line]
    return (shlex.split(line, comments=True)[3:] for line in lines)


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that README's examples read: clip.mp4 and first.png, a mask of its frame 0."""
    scene = make_scene(0, width=96, height=64, frames=6, objects=6, movers=1, path="orbit")
    with VideoWriter(tmp_path / "clip.mp4", 96, 64, fps=25, crf=8) as writer:
        for frame in scene.video:
            writer.write(frame)
    write_mask(tmp_path / "first.png", scene.masks[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_examples_run(clip: Path) -> None:
    core, applications = _blocks(README, "python")
    names: dict[str, Any] = {}
    exec(core, names)
    assert names["tracks"].xy.shape == (2, 6, 2) and (clip / "tracks.nk").is_file()
    exec(applications, names)
    assert names["masks"].ids[4].shape == (64, 96) and (clip / "masks" / "prompts.json").is_file()
    assert (clip / "smooth.mp4").is_file() and len(names["smooth"]) == 12
    room = names["room"]
    assert room.depth[4].shape == (64, 96) and np.isfinite(room.depth[4]).all() and (room.depth[4] > 0).any()
    assert room.cameras.poses.shape == (6, 4, 4) and (clip / "room" / "cameras.tum").is_file()
    # The pages of the applications go on with these files.
    for page in ("depth", "interpolate", "vos"):
        for block in _blocks(ROOT / "docs" / f"{page}.md", "python"):
            exec(block, {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_command_lines_of_the_documentation_parse(page: Path) -> None:
    for words in _command_lines(page):
        try:
            _parse(cli, words)
        except click.exceptions.Exit:
            pass  # --help
        except click.UsageError as error:
            # In a sentence a command is named without its arguments.
            named = isinstance(error, click.MissingParameter) or len(words) == 1
            assert named, f"{page.name}: trackime-apps {' '.join(words)}: {error.format_message()}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_of_benchmarks_exist(page: Path) -> None:
    """Data sets are not here, so that values are not checked."""
    for words in _benchmark_lines(page):
        chosen = benchmarks.commands[words[0]]
        try:
            chosen.make_context(words[0], words[1:])
        except click.NoSuchOption as error:
            pytest.fail(f"{page.name}: python -m benchmarks {' '.join(words)}: {error.format_message()}")
        except click.UsageError:
            pass


def test_commands_of_the_readme_are_complete() -> None:
    shown = {words[0] for words in _command_lines(README)}
    assert shown == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", link)]
    missing = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    assert not missing, f"{page.name}: {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_source_files_that_are_named_exist(page: Path) -> None:
    """Paths between backticks with a folder in them, from the root."""
    named = re.findall(r"`([\w\-]+(?:/[\w\-]+)+\.py)`", page.read_text(encoding="utf-8"))
    missing = [name for name in named if not (ROOT / name).is_file()]
    assert not missing, f"{page.name}: {missing}"


def test_the_map_has_every_folder_of_the_packages() -> None:
    named = set(re.findall(r"`((?:trackime|apps)/(?:\w+/)?)`", README.read_text(encoding="utf-8")))
    there = {
        f"{path.parent.relative_to(ROOT)}/"
        for name in ("trackime", "apps")
        for path in (ROOT / name).glob("*/__init__.py")
    }
    assert named == {*there, "apps/"}
