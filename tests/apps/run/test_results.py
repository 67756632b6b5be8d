"""The folder of a result: whole or not there, refused, replaced, resumed."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from trackime.errors import InputError, OutputError
from trackime_apps.run import read_record, result_folder
from trackime_apps.run.prompts import _parse_prompt
from trackime_apps.run.results import _identity


def make(output: Path, text: str = "new", **options: Any) -> str:
    """A run that writes a.txt; says whether it was skipped, or what it found in its checkpoint."""
    settings = options.pop("settings", {"size": 3})
    with result_folder(output, "toy", settings, **options) as result:
        if result is None:
            return "skipped"
        stage = result.checkpoint / "stage"
        found = stage.read_text() if stage.exists() else "nothing"
        (result.folder / "a.txt").write_text(text)
    return found


def break_off(output: Path, error: type[BaseException] = KeyboardInterrupt, **options: Any) -> None:
    with pytest.raises(error), result_folder(output, "toy", {"size": 3}, **options) as result:
        assert result is not None
        (result.folder / "a.txt").write_text("half")
        (result.checkpoint / "stage").write_text("kept")
        raise error


def test_a_result_says_what_it_was_made_from(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    settings = {"size": 3, "point": (_parse_prompt("1,2"),), "mask": Path("m.png"), "none": None, "fuse": True}
    assert make(out, settings=settings) == "nothing"
    record = json.loads((out / "result.json").read_text())
    assert record["command"] == "toy" and "numpy" in record["versions"]
    assert record["files"] == ["a.txt", "config.toml", "result.json"]
    assert tomllib.loads((out / "config.toml").read_text()) == {
        "size": 3, "point": ["1,2"], "mask": str(Path("m.png").absolute()), "fuse": True,
    }  # fmt: skip
    assert sorted(p.name for p in out.parent.iterdir()) == ["out"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    make(tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").read_text() == "new"


def test_a_folder_with_anything_in_it_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    with pytest.raises(OutputError, match="--overwrite to replace it or --resume"):
        make(tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").read_text() == "old"


def test_a_file_is_refused_even_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        make(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out").read_text() == "mine"


def test_both_flags_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exclude"):
        make(tmp_path / "out", overwrite=True, resume=True)


def test_overwrite_replaces_a_result_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with result_folder(out, "toy", {}) as result:
        assert result is not None
        (result.folder / "stale.txt").write_text("old")
    make(out, overwrite=True)
    assert sorted(p.name for p in out.iterdir()) == ["a.txt", "config.toml", "result.json"]


def test_overwrite_keeps_what_no_result_put_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(out, "old")
    (out / "notes.txt").write_text("mine")
    make(out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine" and (out / "a.txt").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_a_run_that_breaks_off_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    break_off(tmp_path / "out", error)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_breaks_off_leaves_the_old_result(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    break_off(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "a.txt").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_resume_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "out"
    break_off(out, resume=True)
    assert not out.exists()
    assert make(out, resume=True) == "kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_a_checkpoint_of_other_settings_or_without_resume_is_not_used(tmp_path: Path) -> None:
    break_off(tmp_path / "out", resume=True)
    assert make(tmp_path / "out", resume=True, settings={"size": 4}) == "nothing"
    break_off(tmp_path / "two", resume=True)
    assert make(tmp_path / "two") == "nothing"


def test_resume_skips_what_is_finished(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    assert make(tmp_path / "out", resume=True) == "skipped"
    assert (tmp_path / "out" / "a.txt").read_text() == "old"


def test_resume_refuses_other_settings_and_other_input(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text("1")
    make(tmp_path / "out", inputs=[source])
    with pytest.raises(OutputError, match="other input or settings"):
        make(tmp_path / "out", resume=True, inputs=[source], settings={"size": 4})
    source.write_text("2")
    with pytest.raises(OutputError, match="other input or settings"):
        make(tmp_path / "out", resume=True, inputs=[source])


def test_two_runs_do_not_write_one_result(tmp_path: Path) -> None:
    with result_folder(tmp_path / "out", "toy", {}) as result:
        assert result is not None
        with pytest.raises(OutputError, match="another run"):
            make(tmp_path / "out")
        (result.folder / "a.txt").write_text("first")
    assert (tmp_path / "out" / "a.txt").read_text() == "first"


def test_a_killed_run_can_be_resumed(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from trackime_apps.run import result_folder\n"
        "with result_folder(Path(sys.argv[1]), 'toy', {'size': 3}) as r:\n"
        "    (r.checkpoint / 'stage').write_text('kept'); os.kill(os.getpid(), 9)\n"
    )
    out = tmp_path / "out"
    assert subprocess.run([sys.executable, "-c", script, str(out)], check=False).returncode == -9
    assert not out.exists()
    assert make(out, resume=True) == "kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def killed(out: Path, function: str, call: int, **options: Any) -> None:
    """Kill a run, in a process of its own, at the start of call number `call` of `function` (of os or shutil)."""
    module, _, name = function.partition(".")
    script = (
        "import os, shutil, sys; from pathlib import Path; from trackime_apps.run import result_folder\n"
        f"calls, real = [], {module}.{name}\n"
        "def work(*a, **k):\n"
        f"    if len(calls) == {call}: os.kill(os.getpid(), 9)\n"
        "    calls.append(a); return real(*a, **k)\n"
        f"with result_folder(Path(sys.argv[1]), 'toy', {{'size': 3}}, **{options!r}) as r:\n"
        "    (r.folder / 'a.txt').write_text('killed'); (r.folder / 'b.txt').write_text('killed')\n"
        f"    {module}.{name} = work\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(out)], check=False).returncode == -9


@pytest.mark.parametrize("users_file", [False, True])
def test_a_run_killed_before_its_clean_up_does_not_spoil_the_next(tmp_path: Path, users_file: bool) -> None:
    out = tmp_path / "out"
    make(out, "old")
    if users_file:
        (out / "notes.txt").write_text("mine")
    killed(out, "shutil.rmtree", 0, overwrite=True)
    assert (tmp_path / ".out.partial" / "old").exists()
    make(out, overwrite=True)
    assert (out / "a.txt").read_text() == "new" and (out / "notes.txt").exists() == users_file
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("call", range(7))
def test_a_run_killed_while_it_publishes_is_completed(tmp_path: Path, call: int) -> None:
    """Call by call: of two renames, or of the moves of three old and four new files among the user's."""
    for out, users_file in ((tmp_path / "whole", False), (tmp_path / "mixed", True)):
        make(out, "old")
        if users_file:
            (out / "notes.txt").write_text("mine")
        elif call > 1:
            continue
        killed(out, "os.replace", call, overwrite=True)
        begun = (tmp_path / f".{out.name}.partial" / "old").exists()
        assert begun == (call > 0 or users_file)
        # Refused, as nothing was asked to be replaced; but what was half done is whole.
        with pytest.raises(OutputError, match="--overwrite"):
            make(out)
        record = read_record(out)
        assert record is not None
        expected = "killed" if begun else "old"
        assert {p.name for p in out.iterdir()} == {*record["files"], *(["notes.txt"] if users_file else [])}
        assert (out / "a.txt").read_text() == expected and ("b.txt" in record["files"]) == begun
        make(out, overwrite=True)
        assert (out / "a.txt").read_text() == "new" and not (out / "b.txt").exists()
        assert (out / "notes.txt").exists() == users_file


def test_only_errors_of_its_own_files_are_blamed_on_a_result(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError) as caught, result_folder(out, "toy", {}):
        open(tmp_path / "gone.txt")
    assert caught.value.filename == str(tmp_path / "gone.txt")
    with pytest.raises(OSError, match="no name") as plain, result_folder(out, "toy", {}):
        raise OSError("no name")
    assert not isinstance(plain.value, OutputError)
    for place in ("folder", "checkpoint"):
        with (
            pytest.raises(OutputError, match=f"cannot write {out}: No such file"),
            result_folder(out, "toy", {}) as result,
        ):
            open(getattr(result, place) / "no" / "file", "w")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot write"):
        make(tmp_path / "out")
    tmp_path.chmod(0o700)


def test_below_a_file_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        make(tmp_path / "file" / "out")


def test_folders_made_on_the_way_go_when_a_run_breaks_off(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    break_off(tmp_path / "there" / "a" / "b" / "out")
    assert list((tmp_path / "there").iterdir()) == []
    make(tmp_path / "there" / "a" / "out")
    break_off(tmp_path / "there" / "a" / "b" / "out")
    assert [p.name for p in (tmp_path / "there" / "a").iterdir()] == ["out"]


def test_the_root_is_no_result() -> None:
    with pytest.raises(OutputError, match="expected a folder below it"):
        make(Path("/"), overwrite=True)


def test_broken_records_count_as_none(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    (tmp_path / "result.json").write_text("[1]")
    assert read_record(tmp_path) is None
    (tmp_path / "result.json").write_text("{")
    assert read_record(tmp_path) is None


def test_inputs_are_known_by_content(tmp_path: Path) -> None:
    assert _identity(tmp_path / "gone") == "missing"
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("x")
    assert _identity(tmp_path / "a") == _identity(tmp_path / "b")
    (tmp_path / "b").write_text("y")
    assert _identity(tmp_path / "a") != _identity(tmp_path / "b")
    before = _identity(tmp_path)
    (tmp_path / "c").write_text("z")
    assert _identity(tmp_path) != before
