"""`vos` over many videos, and its other formats, from the outside."""

from __future__ import annotations

import csv
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trackime.errors import DeviceError
from trackime.types import Queries
from trackime.video import read_mask
from trackime_apps.commands.vos_many import _first_mask, named, videos_of
from trackime_apps.vos import Segmentation

W, H, T = 96, 64, 6


@pytest.fixture
def many(video: Path, mask: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A folder of three videos, one of them broken, and a folder of their first masks; `b`'s begins in frame 1."""
    videos, masks = tmp_path / "videos", tmp_path / "masks"
    videos.mkdir()
    for name in ("a", "b"):
        shutil.copytree(video, videos / name)
    (videos / "bad").mkdir()
    (videos / "bad" / "x.png").write_bytes(b"not an image")
    (videos / "notes.txt").write_text("of no concern")
    (videos / ".hidden").mkdir()
    (masks / "b").mkdir(parents=True)
    shutil.copy(mask, masks / "a.png")
    shutil.copy(mask, masks / "bad.png")
    later = np.zeros((H, W), np.uint8)
    later[10:30, 11:31] = 255
    cv2.imwrite(str(masks / "b" / "shot_01.png"), later)
    cv2.imwrite(str(masks / "b" / "shot_02.png"), 0 * later)  # were it read, it would be refused
    return videos, masks


def rows(out: Path) -> dict[str, dict[str, str]]:
    with open(out / "summary.csv", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def overlap(folder: Path, t: int) -> float:
    found, truth = read_mask(folder / "masks" / f"shot_{t:02d}.png") == 1, np.zeros((H, W), bool)
    truth[10:30, 10 + t : 30 + t] = True
    return float((found & truth).sum() / (found | truth).sum())


class TestListing:
    def test_nothing_that_is_a_folder_of_videos(self, tmp_path: Path, video: Path) -> None:
        (tmp_path / "empty" / "deeper").mkdir(parents=True)
        for source in (tmp_path / "gone", tmp_path / "empty", video, video / "shot_00.png"):
            assert videos_of(str(source)) is None

    def test_videos_are_files_and_folders(self, tmp_path: Path) -> None:
        for name in ("b.MP4", "c.txt", ".d.mp4", "a.mkv"):
            (tmp_path / name).write_text("")
        (tmp_path / "e").mkdir()
        assert [p.name for p in videos_of(str(tmp_path)) or []] == ["a.mkv", "b.MP4", "e"]
        assert list(named([str(tmp_path), "elsewhere/z.mp4"])) == ["a", "b", "e", "z"]

    def test_first_mask(self, many: Any) -> None:
        videos, masks = many
        assert [(m.path.name, m.t) for m in (_first_mask(masks, n, videos / n) for n in "ab")] == [
            ("a.png", 0),
            ("shot_01.png", 1),
        ]


class TestBatch:
    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            (["{v}/a", "{v}/b", "--mask", "{m}/a.png"], "expected --masks FOLDER"),
            (["{v}", "--mask", "{m}/a.png"], "expected --masks FOLDER with first masks of 3 videos"),
            (["{v}", "--masks", "{m}", "--mask", "{m}/a.png"], "--masks and --mask exclude each other"),
            (["{v}", "--masks", "{m}", "--point", "20,20"], "--masks and --point exclude each other"),
            (["{v}", "--masks", "{m}", "--tracks", "x.npz"], "--masks and --tracks exclude each other"),
            (["{v}", "--masks", "{m}/a.png"], "expected a folder of first masks"),
            (["{v}", "{v}/a", "--masks", "{m}"], "videos of different names"),
            (["{v}", "--masks", "{m}", "--resume", "--overwrite"], "exclude each other"),
            (["{v}", "--masks", "{m}", "--tracker", "none"], "unknown tracker"),
            (["{v}/a", "--mask", "{m}/a.png", "--format", "gif"], "'gif' is not one of"),
            ([], "VIDEO"),
        ],
    )
    def test_bad_usage_is_one_line(self, run: Any, many: Any, tmp_path: Path, typed: list[str], said: str) -> None:
        videos, masks = many
        ran = run("vos", "-o", tmp_path / "out", *(word.format(v=videos, m=masks) for word in typed))
        assert ran.code == 2 and said in ran.err and ran.err.count("\n") == 1 and not (tmp_path / "out").exists()

    def test_a_bad_video_is_a_line_and_the_others_are_done(
        self, run: Any, many: Any, tmp_path: Path, tracked: list[Queries]
    ) -> None:
        videos, masks = many
        out = tmp_path / "out"
        ran = run("vos", videos, "--masks", masks, "-o", out)
        assert ran.code == 1 and ran.err.count("\n") == 1
        assert ran.err.startswith("trackime-apps: bad: ") and "not an image" in ran.err
        assert ran.out.splitlines()[-1] == "3 videos: 2 done, 1 failed (bad)"
        assert sorted(p.name for p in out.iterdir()) == ["a", "b", "summary.csv"]
        got = rows(out)
        assert [(r["status"], r["objects"], r["frames"]) for r in got.values()] == [
            ("done", "1", "6"), ("done", "1", "6"), ("failed", "0", "0"),
        ]  # fmt: skip
        assert "not an image" in got["bad"]["error"]
        for name in ("a", "b"):
            assert min(overlap(out / name, t) for t in range(T)) > 0.85
        assert json.loads((out / "b" / "result.json").read_text())["objects"] == [1]

    def test_each_result_is_what_the_single_call_makes(
        self, run: Any, many: Any, tmp_path: Path, tracked: list[Queries]
    ) -> None:
        videos, masks = many
        out, options = tmp_path / "out", ["--format", "mots", "--points", "8"]
        assert run("vos", videos / "a", videos / "b", "--masks", masks, "-o", out, *options, "--quiet").out == ""
        single = ["vos", videos / "b", "--mask", f"{masks / 'b' / 'shot_01.png'}@1", *options]
        assert run(*single, "-o", tmp_path / "alone").code == 0
        for path in (p for p in (tmp_path / "alone").rglob("*") if p.is_file() and p.name != "result.json"):
            assert path.read_bytes() == (out / "b" / path.relative_to(tmp_path / "alone")).read_bytes(), path
        ran = run(*single, "-o", out / "b", "--resume")  # and each takes the other's for finished
        assert ran.code == 0 and "skipped" in ran.out

    def test_resume_skips_what_is_done_and_goes_on(
        self, run: Any, many: Any, tmp_path: Path, tracked: list[Queries], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        videos, masks = many
        out = tmp_path / "out"
        (masks / "bad.png").unlink()
        shutil.rmtree(videos / "bad")
        write = Segmentation.save

        def interrupted(found: Segmentation, folder: Path) -> None:
            if ".b.partial" in str(folder):
                raise KeyboardInterrupt
            write(found, folder)

        typed = ["vos", videos, "--masks", masks, "-o", out, "--resume"]
        with monkeypatch.context() as patch:
            patch.setattr(Segmentation, "save", interrupted)
            assert run(*typed).code == 130
        assert sorted(p.name for p in out.iterdir()) == [".b.partial", "a", "summary.csv"]
        asked, made = len(tracked), (out / "a" / "tracks.npz").stat().st_mtime_ns
        ran = run(*typed)
        assert ran.code == 0 and ran.out.splitlines()[-1] == "2 videos: 1 done, 1 skipped"
        assert len(tracked) == asked and (out / "a" / "tracks.npz").stat().st_mtime_ns == made  # b's tracks were kept
        assert {name: row["status"] for name, row in rows(out).items()} == {"a": "skipped", "b": "done"}
        assert rows(out)["a"]["frames"] == "6" and sorted(p.name for p in out.iterdir()) == ["a", "b", "summary.csv"]

    def test_what_is_there_is_not_overwritten(
        self, run: Any, many: Any, tmp_path: Path, tracked: list[Queries]
    ) -> None:
        videos, masks = many
        out = tmp_path / "out"
        (out / "a").mkdir(parents=True)
        (out / "a" / "precious").write_text("x")
        ran = run("vos", videos / "a", videos / "b", "--masks", masks, "-o", out)
        assert ran.code == 1 and "a: " in ran.err and "--overwrite" in ran.err and (out / "b" / "masks").is_dir()
        assert [p.name for p in (out / "a").iterdir()] == ["precious"]
        ran = run("vos", videos, "--masks", masks, "-o", out / "b", "--overwrite")
        assert ran.code == 1 and "is the result of one video" in ran.err

    def test_masks_that_do_not_fit(self, run: Any, many: Any, tmp_path: Path, tracked: list[Queries]) -> None:
        videos, masks = many
        (masks / "a.png").unlink()
        (masks / "b" / "shot_01.png").rename(masks / "b" / "another.png")
        cv2.imwrite(str(masks / "bad.png"), np.zeros((H, W), np.uint8))
        (videos / "bad" / "x.png").unlink()
        cv2.imwrite(str(videos / "bad" / "x.png"), np.zeros((H, W, 3), np.uint8))
        ran = run("vos", videos, "--masks", masks, "-o", tmp_path / "out")
        assert ran.code == 1 and ran.err.count("\n") == 3
        for said in ("a: ", "expected a.png, or a/ with a first mask", "named after a frame", "got an empty mask"):
            assert said in ran.err
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["summary.csv"]

    def test_what_no_video_can_do_without_is_said_once(
        self, run: Any, many: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def none(*_: Any, **__: Any) -> None:
            raise DeviceError("no weights here")

        monkeypatch.setattr("trackime.trackers.create", none)
        ran = run("vos", many[0], "--masks", many[1], "-o", tmp_path / "out")
        assert ran.code == 1 and ran.err == "trackime-apps: no weights here\n" and not (tmp_path / "out").exists()

    def test_an_unexpected_error_is_a_line_too(
        self, run: Any, many: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: Any, **__: Any) -> None:
            raise ZeroDivisionError("by\nnothing")

        monkeypatch.setattr("trackime_apps.commands._vos_result.vos_into", broken)
        ran = run("vos", many[0] / "a", "--masks", many[1], "-o", tmp_path / "out")
        assert ran.code == 1 and "a: unexpected ZeroDivisionError: by nothing" in ran.err and ran.err.count("\n") == 1
        ran = run("vos", many[0] / "a", "--masks", many[1], "-o", tmp_path / "out", "--debug")
        assert "Traceback" in ran.err


def test_formats_stand_beside_the_masks(
    run: Any, video: Path, mask: Path, tmp_path: Path, tracked: list[Queries]
) -> None:
    typed = [word for name in ("coco,mots", "yolo", "rgba,rgba-objects") for word in ("--format", name)]
    out = tmp_path / "out"
    assert run("vos", video, "--mask", mask, "-o", out, *typed).code == 0
    record = json.loads((out / "result.json").read_text())
    assert {"coco.json", "mots.txt", "yolo", "rgba", "rgba-objects"} <= set(record["files"])
    settings = tomllib.loads((out / "config.toml").read_text())
    assert "export" in record["seconds"] and settings["format"] == ["coco", "mots", "yolo", "rgba", "rgba-objects"]
    got = json.loads((out / "coco.json").read_text())
    assert len(got["annotations"]) == T and got["images"][2]["file_name"] == "shot_02.png"
    sure = [row["object_1"] for row in csv.DictReader((out / "confidence.csv").read_text().splitlines())]
    assert [f"{a['score']:.4f}" for a in got["annotations"]] == sure
    assert len((out / "mots.txt").read_text().splitlines()) == T
    assert sorted(p.name for p in (out / "rgba").iterdir())[0] == "shot_00.png"
    again = run("vos", video, "--config", out / "config.toml", "-o", tmp_path / "again")
    assert again.code == 0 and (tmp_path / "again" / "mots.txt").read_bytes() == (out / "mots.txt").read_bytes()
