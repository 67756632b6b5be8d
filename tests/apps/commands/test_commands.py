"""`vos`, `demo` and `doctor` from the outside."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from trackime.errors import MissingExtraError
from trackime.types import Queries, Tracks
from trackime.video import read_mask, write_mask
from trackime_apps.commands import demo, depth, doctor, interpolate, track, vos
from trackime_apps.commands._vos_result import MaskAt
from trackime_apps.run import read_config

W, H, T = 96, 64, 6
VOS = ["confidence.csv", "config.toml", "frames.csv", "masks", "overlay.mp4"]
VOS += ["prompts.json", "result.json", "sheet.png", "tracks.npz"]

SMALL = {"width": 96, "height": 72, "frames": T, "objects": 2, "movers": 1}
"""Options of a world for the demo that is rendered in two seconds."""


def overlap(folder: Path, t: int, identity: int = 1) -> float:
    """IoU of the box's mask of frame t."""
    found, truth = read_mask(folder / "masks" / f"shot_{t:02d}.png") == identity, np.zeros((H, W), bool)
    truth[10:30, 10 + t : 30 + t] = True
    return float((found & truth).sum() / (found | truth).sum())


class TestVos:
    def test_a_mask_is_followed(self, run: Any, video: Path, mask: Path, tmp_path: Path, tracked: Any) -> None:
        out = tmp_path / "out"
        ran = run("vos", video, "--mask", mask, "-o", out)
        assert ran.code == 0 and ran.err == "" and "1 object through 6 frames" in ran.out
        assert sorted(p.name for p in out.iterdir()) == VOS
        assert sorted(p.name for p in (out / "masks").iterdir()) == [f"shot_{t:02d}.png" for t in range(T)]
        assert min(overlap(out, t) for t in range(T)) > 0.85
        with Image.open(out / "masks" / "shot_03.png") as image:
            assert image.mode == "P" and image.getpalette()[3:6] == [128, 0, 0]
        rows = (out / "confidence.csv").read_text().splitlines()
        assert rows[0] == "index,name,object_1" and len(rows) == T + 1 and rows[2].startswith("1,shot_01,")
        record = json.loads((out / "result.json").read_text())
        assert record["objects"] == [1] and {"tracking", "masks", "overlay"} == set(record["seconds"])

    def test_ids_are_kept_and_tracks_reused(
        self, run: Any, video: Path, tmp_path: Path, tracked: list[Queries]
    ) -> None:
        ids = np.zeros((H, W), np.uint8)
        ids[10:30, 10:30], ids[45:60, 60:80], ids[0] = 7, 9, 255
        write_mask(tmp_path / "m.png", ids)
        assert run("vos", video, "--mask", tmp_path / "m.png", "-o", tmp_path / "a").code == 0
        asked = len(tracked)
        typed = ["--mask", tmp_path / "m.png", "--tracks", tmp_path / "a" / "tracks.npz"]
        assert run("vos", video, *typed, "-o", tmp_path / "b").code == 0 and len(tracked) == asked
        assert overlap(tmp_path / "a", 3, 7) > 0.85
        for t in range(T):
            name = f"shot_{t:02d}.png"
            assert (tmp_path / "a" / "masks" / name).read_bytes() == (tmp_path / "b" / "masks" / name).read_bytes()

    def test_clicks_are_followed(self, run: Any, video: Path, tmp_path: Path, tracked: Any) -> None:
        typed = ["--point", "20,20", "--point", "15,12,0,1", "--point", "60,50,-"]
        assert run("vos", video, *typed, "-o", tmp_path / "out").code == 0
        assert min(overlap(tmp_path / "out", t) for t in range(T)) > 0.7

    def test_one_option_seeds_both_configs_and_files_seed_each(
        self, run: Any, video: Path, mask: Path, tmp_path: Path, tracked: Any
    ) -> None:
        def seeds(name: str, *typed: Any) -> list[int]:
            assert run("vos", video, "--mask", mask, "-o", tmp_path / name, *typed).code == 0
            saved = tomllib.loads((tmp_path / name / "config.toml").read_text())
            return [saved[table]["seed"] for table in ("vos", "track")]

        config = tmp_path / "c.toml"
        config.write_text("[track]\nseed = 5\n")
        assert seeds("a") == [0, 0] and seeds("b", "--seed", 3) == [3, 3]
        assert seeds("c", "--config", config) == [0, 5] and seeds("d", "--config", config, "--seed", 3) == [3, 3]
        assert seeds("e", "--config", tmp_path / "b" / "config.toml") == [3, 3]

    def test_resume_goes_on_after_tracking_with_the_same_bytes(
        self, run: Any, video: Path, mask: Path, tmp_path: Path, tracked: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        typed = ["vos", video, "--mask", mask]
        assert run(*typed, "-o", tmp_path / "whole").code == 0
        asked = len(tracked)
        with monkeypatch.context() as patch:
            patch.setattr("trackime_apps.vos.segmentation.Segmentation.save", interrupt)
            assert run(*typed, "-o", tmp_path / "out", "--resume").code == 130
        assert run(*typed, "-o", tmp_path / "out", "--resume").code == 0 and len(tracked) == 2 * asked
        files = [p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*") if p.is_file()]
        for name in files:
            if name.name != "result.json":
                assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name

    @pytest.mark.parametrize(
        ("typed", "code", "said"),
        [
            ([], 2, "expected --mask FILE.png or --point X,Y"),
            (["--point", "20,20,-"], 2, "expected --mask FILE.png or --point X,Y"),
            (["--point", "20,20", "--point", "20,20,0,2,-"], 2, "object 2: expected a mask or a click on it"),
            (["--point", "500,20"], 2, "outside the video"),
            (["--mask", "gone.png"], 1, "gone.png"),
            (["--mask", "wide.png"], 2, "expected a mask of the video's 96x64, got 97x64"),
            (["--mask", "box.png@9"], 2, "expected a frame in 0 .. 5"),
            (["--mask", "box.png", "--mask", "box.png@0"], 2, "one mask a frame"),
            (["--mask", "box.png", "--strategy", "best"], 2, "--strategy"),
            (["--mask", "box.png", "--side", "5"], 2, "side: expected 0 or at least 32"),
        ],
    )
    def test_bad_input_is_one_line(
        self, run: Any, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        typed: list[str], code: int, said: str, tracked: Any,
    ) -> None:  # fmt: skip
        cv2.imwrite(str(tmp_path / "wide.png"), np.full((H, W + 1), 255, np.uint8))
        box = np.zeros((H, W), np.uint8)
        box[10:30, 10:30] = 255
        cv2.imwrite(str(tmp_path / "box.png"), box)
        monkeypatch.chdir(tmp_path)
        ran = run("vos", video, "-o", tmp_path / "out", *typed)
        assert ran.code == code and said in ran.err and ran.err.count("\n") == 1
        assert sorted(p.name for p in tmp_path.iterdir()) == ["box.png", "wide.png"]

    def test_a_mask_names_its_frame(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "odd@3").write_text("")
        for text, expected in (("m.png", ("m.png", 0)), ("m.png@12", ("m.png", 12)), ("odd@3", ("odd@3", 0))):
            mask = MaskAt(text)
            assert (mask.path.name, mask.t) == expected


class TestDemo:
    def test_everything_is_run_and_scored(
        self, run: Any, tmp_path: Path, tracked: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(demo, "_WORLD", {**demo._WORLD, **SMALL})
        ran = run("demo", "-o", tmp_path / "out")
        assert ran.code == 0 and ran.err == ""
        assert "TrackIME" in ran.out and "J&F" in ran.out and "overlay.mp4" in ran.out
        record = json.loads((tmp_path / "out" / "result.json").read_text())
        assert set(record["scores"]["track"]) == {"TrackIME", "tracker alone"}
        assert 0 <= record["scores"]["vos"]["tracked"]["J&F"] <= 1
        assert set(record["scores"]["interpolate"]) == {"tracks", "mean of both neighbours"}
        assert record["scores"]["interpolate"]["tracks"]["PSNR"] > 10
        assert record["scores"]["depth"]["measured"]["delta1"] > 0.8 and record["scores"]["cameras"]["ATE"] < 0.05
        assert record["video"]["source"] == "world/video.mp4"
        for name in (
            "track/overlay.mp4",
            "vos/overlay.mp4",
            "world/video.mp4",
            "track/result.json",
            "vos/config.toml",
            "interpolate/sheet.png",
            "depth/cloud.ply",
            "world/cameras.tum",
        ):
            assert (tmp_path / "out" / name).stat().st_size
        assert len(Tracks.load(tmp_path / "out" / "track" / "tracks.npz")) == demo._POINTS
        for name, part in (("track", track), ("vos", vos), ("depth", depth), ("interpolate", interpolate)):
            assert read_config(tmp_path / "out" / name / "config.toml", part.command)  # as its command takes it
        assert run("demo", "-o", tmp_path / "out").code == 1
        assert "skipped" in run("demo", "-o", tmp_path / "out", "--resume").out


def test_doctor_checks_every_dependency_and_extra() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text())["project"]
    assert set(doctor._PACKAGES) == {re.split("[<>=]", line)[0] for line in project["dependencies"]}
    assert set(doctor._EXTRAS) == set(project["optional-dependencies"]) - {"dev"}


class TestDoctor:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The defaults alone: others may take seconds."""
        monkeypatch.setattr("trackime.trackers.names", lambda: ["lk"])
        monkeypatch.setattr("trackime.segmenters.names", lambda: ["graphcut"])

    def test_this_installation_works(self, run: Any) -> None:
        ran = run("doctor", "--device", "cpu")
        assert ran.code == 0 and "everything required works" in ran.out
        for part in ("python", "torch", "h264", "lk", "graphcut", "cpu"):
            assert part in ran.out

    def test_what_fails_is_said_and_the_code_is_1(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any) -> str:
            raise RuntimeError("no such luck\nsecond line")

        monkeypatch.setattr(doctor, "_try_tracker", fail)
        monkeypatch.setattr(doctor, "_PACKAGES", {"no-such-thing": "no_such_thing"})
        ran = run("doctor", "--quiet")
        assert ran.code == 1 and "RuntimeError: no such luck" in ran.out and "second line" not in ran.out
        assert "pip install 'no-such-thing'" in ran.out and "torch" not in ran.out

    def test_what_is_optional_may_be_missing(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def absent(name: str, _: str) -> str:
            if name == "big":
                raise MissingExtraError("tracker big", "models")
            return "works"

        monkeypatch.setattr("trackime.trackers.names", lambda: ["lk", "big"])
        monkeypatch.setattr(doctor, "_try_tracker", absent)
        monkeypatch.setattr(doctor, "_EXTRAS", {"toy": (("no_such_thing",), "toys")})
        ran = run("doctor")
        assert ran.code == 0 and all(f"pip install 'trackime[{extra}]'" in ran.out for extra in ("models", "toy"))

    def test_a_device_that_is_not_there_fails(self, run: Any) -> None:
        assert run("doctor", "--device", "cuda:99").code == 1
