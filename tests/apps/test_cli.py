"""The command line from the outside: exit codes, one-line errors, what ends up in the folder."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import pytest

from trackime.errors import DeviceError, TrackimeError
from trackime.types import Queries, Tracks
from trackime.video import open_video
from trackime_apps import cli

W, H, T = 96, 64, 6
FILES = ["config.toml", "frames.csv", "overlay.mp4", "result.json", "sheet.png", "tracks.csv", "tracks.npz"]


pytestmark = pytest.mark.usefixtures("tracked")


def test_no_command_and_help_list_the_commands(run: Any) -> None:
    ran = run()
    assert ran.code == 2 and "track" in ran.err
    ran = run("--help")
    assert ran.code == 0 and all(name in ran.out for name in cli._COMMANDS)
    assert run("--version").out.startswith("trackime ")


def test_every_command_exists_and_has_help(run: Any) -> None:
    for name in cli._COMMANDS:
        ran = run(name, "--help")
        assert ran.code == 0 and "Usage: trackime-apps " + name in ran.out


@pytest.mark.parametrize(
    ("code", "most"),
    [
        ("import trackime_apps", 30),
        ("from trackime_apps.cli import main; main(['--help'])", 120),
        ("from trackime_apps.cli import main; main(['track', '--help'])", 400),
    ],
)
def test_starting_is_fast_because_little_is_imported(code: str, most: int) -> None:
    """Numbers of modules, not seconds: those vary with the machine. A command's help may load numpy."""
    heavy = {"torch", "cv2", "av", "rich", "scipy", "skimage", *(() if "track'" in code else ("numpy",))}
    code = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stderr.split())
    assert not heavy & modules and len(modules) <= most


def test_track_writes_a_whole_result(run: Any, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run("track", video, "-o", out, "--point", "10,20", "--format", "nuke,json")
    assert ran.code == 0 and ran.err == "" and "1 point through 6 frames" in ran.out
    assert sorted(p.name for p in out.iterdir()) == sorted([*FILES, "tracks.nk", "tracks.json"])
    tracks = Tracks.load(out / "tracks.npz")
    np.testing.assert_array_equal(tracks.queries.xyt, [[10.5, 20.5, 0]])
    record = json.loads((out / "result.json").read_text())
    assert record["command"] == "track" and record["device"] in ("cpu", "cuda", "mps")
    assert set(record["seconds"]) == {"tracking", "writing", "overlay"} and record["video"]["frames"] == T
    assert (out / "frames.csv").read_text().splitlines()[2].startswith("1,shot_01,")
    with open_video(out / "overlay.mp4") as overlay:
        assert (len(overlay), overlay.info.width, overlay.info.height) == (T, W, H)


@pytest.mark.parametrize("typed", [["nuke,json"], ["nuke", "json"], ["nuke,json", "nuke"]])
def test_formats_may_be_repeated_or_separated_by_commas(
    run: Any, video: Path, tmp_path: Path, typed: list[str]
) -> None:
    words = [word for names in typed for word in ("--format", names)]
    assert run("track", video, "-o", tmp_path / "out", "--grid", "40", *words).code == 0
    assert {"tracks.nk", "tracks.json"} <= {p.name for p in (tmp_path / "out").iterdir()}


def test_windows_are_a_list_and_the_method_is_a_table(run: Any, video: Path, tmp_path: Path) -> None:
    for name, typed in (("a", ["960,384"]), ("b", ["960", "384"])):
        words = [word for sides in typed for word in ("--windows-px", sides)]
        assert run("track", video, "-o", tmp_path / name, "--grid", "40", *words).code == 0
        settings = tomllib.loads((tmp_path / name / "config.toml").read_text())
        assert settings["track"]["windows_px"] == [960, 384] and settings["grid"] == 40
    assert "published: 960,384" in " ".join(run("track", "--help").out.split())


def test_quiet_says_nothing(run: Any, video: Path, tmp_path: Path) -> None:
    ran = run("track", video, "-o", tmp_path / "out", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_without_points_there_is_a_grid(run: Any, video: Path, tmp_path: Path, tracked: list[Queries]) -> None:
    run("track", video, "-o", tmp_path / "a")
    assert len(tracked[0]) == 24  # 6 x 4 at 16 px
    run("track", video, "-o", tmp_path / "b", "--grid", "8")
    assert len(tracked[1]) == 96
    run("track", video, "-o", tmp_path / "c", "--grid", "8", "--point", "1,2,3", "--point", "1,2,3")
    assert len(tracked[2]) == 98  # duplicates are kept


def test_a_grid_wider_than_the_frame_has_one_point(run: Any, video: Path, tmp_path: Path, tracked: Any) -> None:
    run("track", video, "-o", tmp_path / "a", "--grid", "500")
    np.testing.assert_array_equal(tracked[0].xyt, [[W / 2, H / 2, 0]])


def test_a_mask_keeps_the_grid_on_its_objects(
    run: Any, video: Path, mask: Path, tmp_path: Path, tracked: list[Queries]
) -> None:
    run("track", video, "-o", tmp_path / "a", "--grid", "4", "--mask", mask)
    assert len(tracked[0]) == 25 and (tracked[0].instance == 1).all()
    assert ((tracked[0].xy >= 10) & (tracked[0].xy < 30)).all()
    run("track", video, "-o", tmp_path / "b", "--grid", "60", "--mask", mask)
    assert len(tracked[1]) == 1 and 18 < tracked[1].xy.min() <= tracked[1].xy.max() < 22  # its middle


def test_queries_come_from_a_file(run: Any, video: Path, tmp_path: Path, tracked: list[Queries]) -> None:
    (tmp_path / "q.csv").write_text("x,y,t\n3,4,5\n6.25,7.5,0,9\n")
    assert run("track", video, "-o", tmp_path / "a", "--queries", tmp_path / "q.csv", "--point", "1,1").code == 0
    np.testing.assert_array_equal(tracked[0].xyt, [[1.5, 1.5, 0], [3.5, 4.5, 5], [6.25, 7.5, 0]])
    assert tracked[0].instance.tolist() == [-1, -1, 9]


def test_tracks_are_reused(run: Any, video: Path, tmp_path: Path, tracked: list[Queries]) -> None:
    run("track", video, "-o", tmp_path / "a", "--point", "10,20")
    ran = run("track", video, "-o", tmp_path / "b", "--tracks", tmp_path / "a" / "tracks.csv")
    assert ran.code == 0 and len(tracked) == 1
    np.testing.assert_array_equal(
        Tracks.load(tmp_path / "b" / "tracks.npz").xy, Tracks.load(tmp_path / "a" / "tracks.npz").xy
    )


def test_the_saved_config_makes_the_same_result(run: Any, video: Path, mask: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    typed = ["--point", "10,20,1,3", "--grid", "9", "--mask", mask, "--no-clip", "--windows-px", "32,16"]
    assert run("track", video, "-o", a, *typed).code == 0
    assert run("track", video, "-o", b, "--config", a / "config.toml").code == 0
    for name in ("config.toml", "tracks.npz", "tracks.csv", "overlay.mp4", "sheet.png", "frames.csv"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["--point", "200,10"], 2, "outside the video"),
        (["--point", "-3,10"], 2, "outside the video"),
        (["--point", "10,10,6"], 2, "t in [0, 5]"),
        (["--point", "10;10"], 2, "X,Y[,T[,ID]][,+|-]"),
        (["--point", "10,10,-"], 2, "cannot be tracked"),
        (["--point", "nan,10"], 2, "'nan'"),
        (["--grid", "0"], 2, "--grid"),
        (["--neighbours", "0"], 2, "neighbours: expected 1 or more"),
        (["--window-scales", ""], 2, "window_scales: expected at least one"),
        (["--seed", "-1"], 2, "seed: expected 0 or more"),
        (["--windows", "each"], 2, "--windows"),
        (["--tracker", "nope"], 2, "unknown tracker 'nope': expected one of lk"),
        (["--segmenter", "nope"], 2, "unknown segmenter 'nope': expected one of graphcut"),
        (["--format", "doc"], 2, "unknown format 'doc': expected some of npz"),
        (["--device", "gpu"], 2, "expected auto, cpu, cuda"),
        (["--overwrite", "--resume"], 2, "exclude each other"),
        (["--mask", "gone.png"], 1, "gone.png"),
        (["--queries", "gone.csv"], 1, "gone.csv"),
        (["--tracks", "gone.npz"], 1, "gone.npz"),
        (["--tracks", "gone.npz", "--grid", "9"], 2, "--tracks and --grid exclude each other"),
        (["--queries", os.devnull], 2, "expected at least one point, got none"),
        (["--config", "gone.toml"], 2, "gone.toml"),
        (["--nope"], 2, "--nope"),
    ],
)
def test_bad_input_is_one_line(
    run: Any, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("track", video, "-o", tmp_path / "out", *typed)
    assert ran.code == code and said in ran.err
    assert ran.err.count("\n") == 1 and ran.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_empty_video_is_a_failure(run: Any, tmp_path: Path) -> None:
    ran = run("track", tmp_path / "gone.mp4", "-o", tmp_path / "out")
    assert ran.code == 1 and "gone.mp4" in ran.err and ran.err.count("\n") == 1
    (tmp_path / "empty.mp4").write_bytes(b"")
    ran = run("track", tmp_path / "empty.mp4", "-o", tmp_path / "out")
    assert ran.code == 1 and "empty.mp4" in ran.err and ran.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    ran = run("track", "", "-o", tmp_path / "out")
    assert ran.code == 1 and "got an empty name" in ran.err and ran.err.count("\n") == 1


def test_a_mask_of_another_size_or_empty_is_refused(run: Any, video: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "m.png"), np.full((H, W + 1), 255, np.uint8))
    ran = run("track", video, "-o", tmp_path / "out", "--mask", tmp_path / "m.png")
    assert ran.code == 2 and "expected a mask of the video's 96x64, got 97x64" in ran.err
    cv2.imwrite(str(tmp_path / "m.png"), np.zeros((H, W), np.uint8))
    ran = run("track", video, "-o", tmp_path / "out", "--mask", tmp_path / "m.png")
    assert ran.code == 2 and "empty mask" in ran.err


def test_tracks_of_another_video_are_refused(run: Any, video: Path, tmp_path: Path) -> None:
    run("track", video, "-o", tmp_path / "a", "--point", "10,20")
    Tracks.load(tmp_path / "a" / "tracks.npz").window(0, 3).save(tmp_path / "short.npz")
    ran = run("track", video, "-o", tmp_path / "b", "--tracks", tmp_path / "short.npz")
    assert ran.code == 2 and "96x64, 6 frames" in ran.err and "96x64, 3 frames" in ran.err


def test_results_are_refused_skipped_and_replaced(run: Any, video: Path, tmp_path: Path, tracked: Any) -> None:
    typed = ["track", video, "-o", tmp_path / "out", "--point", "10,20"]
    assert run(*typed).code == 0
    ran = run(*typed)
    assert ran.code == 1 and "--overwrite" in ran.err and ran.err.count("\n") == 1
    ran = run(*typed, "--resume")
    assert ran.code == 0 and "skipped" in ran.out and len(tracked) == 1
    ran = run(*typed, "--resume", "--no-clip")
    assert ran.code == 1 and "other input or settings" in ran.err
    assert run(*typed, "--overwrite").code == 0 and len(tracked) == 2


def test_resume_goes_on_after_tracking_with_the_same_bytes(
    run: Any, video: Path, tmp_path: Path, tracked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ["track", video, "--point", "10,20", "--point", "1,2,3"]
    assert run(*typed, "-o", tmp_path / "whole").code == 0
    with monkeypatch.context() as patch:
        patch.setattr("trackime_apps.run.pictures.write_pictures", raising(KeyboardInterrupt()))
        assert run(*typed, "-o", tmp_path / "out", "--resume").code == 130
    assert not (tmp_path / "out").exists() and len(tracked) == 2
    assert run(*typed, "-o", tmp_path / "out", "--resume").code == 0 and len(tracked) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "whole"]
    for name in set(FILES) - {"result.json"}:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def raising(error: BaseException) -> Any:
    def work(*_: Any, **__: Any) -> Any:
        raise error

    return work


class OutOfMemoryError(RuntimeError):
    """What torch raises is known by its name."""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (TrackimeError("no luck"), 1, "no luck"),
        (DeviceError("two\nlines"), 1, "two lines"),
        (MemoryError(), 1, "out of memory: a smaller --chunk"),
        (OutOfMemoryError("CUDA"), 1, "out of memory: a smaller --chunk"),
        (OSError(28, "No space left on device", "x.npz"), 1, "No space left on device"),
        (ZeroDivisionError("oops"), 1, "unexpected ZeroDivisionError: oops (--debug shows where)"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(
    run: Any, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    monkeypatch.setattr("trackime.ime.track", raising(error))
    ran = run("track", video, "-o", tmp_path / "out")
    assert ran.code == code and said in ran.err
    assert ran.err.lstrip("\n").count("\n") == 1  # click ends the terminal's line after ^C
    assert list(tmp_path.iterdir()) == []


def test_a_broken_pipe_is_silent(run: Any, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)
    monkeypatch.setattr("trackime.ime.track", raising(BrokenPipeError()))
    ran = run("track", video, "-o", tmp_path / "out")
    assert (ran.code, ran.err) == (1, "")


def test_debug_shows_where(run: Any, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackime.ime.track", raising(ZeroDivisionError("oops")))
    ran = run("track", video, "-o", tmp_path / "out", "--debug")
    assert ran.code == 1 and "Traceback" in ran.err and "ZeroDivisionError: oops" in ran.err


@pytest.mark.parametrize("program", [["-m", "trackime_apps"], ["-m", "trackime_apps.cli"]])
def test_the_module_is_the_program(program: list[str]) -> None:
    done = subprocess.run([sys.executable, *program, "nope"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    names = "track, vos, interpolate, depth, demo, models, doctor"
    expected = f"no such command 'nope': expected one of {names} (see trackime-apps --help)"
    assert done.stderr == f"trackime-apps: {expected}\n"
