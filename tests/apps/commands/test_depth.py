"""`trackime-apps depth` from the outside, and the chain from a video to its depth and cameras."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from trackime.errors import InputError, SolveError
from trackime.metrics import absolute_error, depth_scores
from trackime.types import Queries, Tracks, VideoInfo
from trackime.video import VideoWriter
from trackime.worlds import Scene, make_scene
from trackime_apps.depth import DepthConfig, Exports, depth
from trackime_apps.depth.files.results import _load
from trackime_apps.depth.shot import _worlds
from trackime_apps.depth.solver import Grid, Solution
from trackime_apps.depth.source import Source


def small(**options: Any) -> Scene:
    """A small room seen by a moving camera."""
    chosen = {"seed": 1, "width": 160, "height": 120, "frames": 8, "objects": 4, "movers": 1, "path": "wander"}
    return make_scene(**(chosen | options))


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Path]:
    """A room and its video."""
    scene = small()
    path = tmp_path_factory.mktemp("room") / "room.mp4"
    with VideoWriter(path, 160, 120, fps=25, crf=4) as writer:
        for t in range(len(scene)):
            writer.write(scene.frame(t))
    return scene, path


class TestConfigs:
    @pytest.mark.parametrize("bad", [{"matches": 0}, {"filter": -1}, {"cuts": 1.0}, {"cuts": -0.1}])
    def test_depth(self, bad: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            DepthConfig(**bad)

    @pytest.mark.parametrize("bad", [{"cloud": -1}, {"colmap": "yes"}])
    def test_files(self, bad: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            Exports(**bad)

    def test_one_source(self, tmp_path: Path) -> None:
        assert Source().parallax and not Source("dpt-large").parallax and not Source(folder=tmp_path).parallax
        for bad in ({"model": "m", "folder": tmp_path}, {"kind": "depth"}, {"scale": 2.0}):
            with pytest.raises(InputError):
                Source(**bad)


class TestChain:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"path": "static", "frames": 6}, "--depth-model"),
            ({"path": "rotation", "frames": 6}, "--depth-model"),
            ({"frames": 1}, "--depth-model"),
            ({"frames": 4, "cut": True}, "frames 0 .. 1 (a shot between cuts)"),
            ({"frames": 12, "path": "rotation", "cut": True}, "frames 0 .. 5 (a shot between cuts)"),
        ],
    )
    def test_no_parallax_is_one_line(self, tmp_path: Path, options: dict[str, Any], said: str) -> None:
        with pytest.raises(SolveError) as error:
            depth(small(**options).video, tmp_path / "out")
        assert said in str(error.value) and "\n" not in str(error.value)
        assert not (tmp_path / "out" / ".work").exists()  # or another video would go on from there

    def test_three_frames_will_do(self, tmp_path: Path) -> None:
        scene = small(frames=3, movers=0, path="orbit")
        result = depth(scene.video, tmp_path).shots[0].result
        seen = depth_scores(result.depth, scene.depth, range(3), measured=lambda t: result.maps(t)[2])
        assert seen.delta1 > 0.95 and seen.coverage > 0.3
        assert absolute_error(result.cameras.poses, scene.poses).share < 0.02

    def test_a_cut_parts_two_worlds(self, tmp_path: Path) -> None:
        scene = small(frames=12, cut=True, path="orbit", movers=0)
        found = depth(scene.video, tmp_path)
        assert [(shot.start, shot.stop) for shot in found.shots] == [(0, 6), (6, 12)]
        for shot in found.shots:
            again = _load(tmp_path / f"shot_{shot.start:05d}")
            assert again.info.names == tuple(f"{t:05d}" for t in range(shot.start, shot.stop))
            assert np.allclose(again.cameras.poses[0], np.eye(4), atol=1e-6)
            error = absolute_error(again.cameras.poses, scene.poses[shot.start : shot.stop])
            assert error.share < 0.02
        assert not (tmp_path / ".work").exists()

    def test_tracks_and_a_focal_length_that_are_given(self, tmp_path: Path, room: tuple[Scene, Path]) -> None:
        scene = room[0]
        tracks = Tracks.concat([scene.sample(400, t=t, seed=t) for t in (0, 4, 7)])
        still = tracks[tracks.instance <= 0]
        found = depth(scene.video, tmp_path, tracks=still, focal=scene.focal)
        cameras = found.shots[0].result.cameras
        assert np.allclose(cameras.focal, scene.focal)
        assert absolute_error(cameras.poses, scene.poses).share < 0.01

    def test_what_cannot_be(self, tmp_path: Path) -> None:
        video = np.zeros((4, 48, 64, 3), np.uint8)
        with pytest.raises(InputError, match="focal"):
            depth(video, tmp_path, focal=-1)
        other = Tracks(np.zeros((1, 5, 2)), np.ones((1, 5)), Queries(np.zeros((1, 3))), VideoInfo.regular(64, 48, 5))
        with pytest.raises(InputError, match="tracks"):
            depth(video, tmp_path, tracks=other)
        with pytest.raises(SolveError, match="--depth-model"):
            depth(video, tmp_path)  # black
        (tmp_path / "maps").mkdir()
        for t in range(4):
            np.save(tmp_path / "maps" / f"{t}.npy", np.ones((48, 64)))
        never = Tracks(np.zeros((1, 4, 2)), np.zeros((1, 4)), Queries(np.zeros((1, 3))), VideoInfo.regular(64, 48, 4))
        with pytest.raises(SolveError, match="expected points that stand still"):
            depth(video, tmp_path / "out", source=Source(folder=tmp_path / "maps"), tracks=never)

    def test_maps_in_order_of_a_video_with_a_cut(self, tmp_path: Path) -> None:
        """They bear no frames' names: which is whose is told for the whole video, not shot by shot."""
        scene = small(frames=8, cut=True, path="orbit", movers=0)
        (tmp_path / "maps").mkdir()
        for t in range(8):
            np.save(tmp_path / "maps" / f"map {t}.npy", scene.depth(t)[::2, ::2])
        found = depth(scene.video, tmp_path / "out", source=Source(folder=tmp_path / "maps"), focal=scene.focal)
        assert [shot.start for shot in found.shots] == [0, 4]
        for shot in found.shots:
            scores = depth_scores(shot.result.depth, lambda t, first=shot.start: scene.depth(first + t), range(4))
            assert scores.delta1 > 0.98

    def test_maps_of_a_folder(self, tmp_path: Path, room: tuple[Scene, Path]) -> None:
        """Metric depth spoiled by a factor a frame: the factors go, the metres stay."""
        scene = room[0]
        factors = np.exp(np.random.default_rng(0).normal(0, 0.2, len(scene)))
        (tmp_path / "maps").mkdir()
        for t, factor in enumerate(factors):
            np.save(tmp_path / "maps" / f"{t:05d}.npy", scene.depth(t)[::2, ::2] * factor)
        source = Source(folder=tmp_path / "maps", kind="metric")
        found = depth(scene.video, tmp_path / "out", source=source, focal=scene.focal).shots[0]
        result = found.result
        assert result.metric and result.depth(0).shape == (120, 160)
        scores = depth_scores(result.depth, scene.depth, range(len(scene)), alignment="none")
        assert scores.delta1 > 0.95 and scores.coverage == 1
        relative = depth_scores(result.depth, scene.depth, range(len(scene)))
        assert abs(np.log(relative.scale) + np.log(factors).mean()) < 0.1

    def test_frames_that_share_no_points_are_worlds_of_their_own(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        scene = small(frames=8, cut=True, path="orbit", movers=0)
        (tmp_path / "maps").mkdir()
        for t in range(8):
            np.save(tmp_path / "maps" / f"{t:05d}.npy", scene.depth(t))
        tracks = Tracks.concat([scene.sample(200, t=t, seed=t) for t in (0, 7)])
        source = Source(folder=tmp_path / "maps")
        (shot,) = depth(
            scene.video, tmp_path / "out", source=source, tracks=tracks, focal=scene.focal, config=DepthConfig(cuts=0)
        ).shots
        assert shot.about["worlds"] == 2 and (shot.start, shot.stop) == (0, 8)
        assert [message for message in caplog.messages if "frame 4 shares no points" in message]

    @pytest.mark.parametrize(
        ("component", "expected"),
        [
            ([0, 0, 0], [0, 0, 0]),
            ([0], [0]),
            ([0, 1, 2], [0, 0, 0]),  # nothing was solved for
            ([0, 1, 1, 3, 1], [0, 0, 0, 0, 0]),  # frames without points are with those before them, or after
            ([0, 0, 2, 3, 3, 5], [0, 0, 0, 3, 3, 3]),
        ],
    )
    def test_worlds(self, component: list[int], expected: list[int]) -> None:
        frames = len(component)
        poses, theta = torch.eye(4).repeat(frames, 1, 1), torch.zeros(frames, 1, 1)
        grid = Grid.named("1x1", 8, 8)
        found = Solution(poses, torch.ones(frames), theta, 0.0, torch.tensor(component), (), grid, False)
        assert _worlds(found).tolist() == expected


class TestCommand:
    def test_everything_is_written(self, run: Any, tmp_path: Path, room: tuple[Scene, Path]) -> None:
        scene, video = room
        out = tmp_path / "out"
        ran = run("depth", video, "-o", out)
        assert (ran.code, ran.err) == (0, "") and "depth of 8 frames" in ran.out
        record = json.loads((out / "result.json").read_text())
        assert record["command"] == "depth" and record["video"]["frames"] == 8
        (shot,) = record["shots"]
        assert shot["unit"] == "relative" and shot["cloud"] > 1000 and shot["points"] > 500
        for name in ("depth", "depth_png", "dynamic", "images"):
            assert len(list((out / name).glob("0000?.*"))) == 8, name
        for name in (
            "overlay.mp4", "sheet.png", "depth.mp4", "cloud.ply", "transforms.json", "cameras.tum", "intrinsics.json",
            "frames.csv", "config.toml", "colmap/sparse/0/points3D.bin",
        ):  # fmt: skip
            assert (out / name).stat().st_size, name
        result = _load(out)
        full = depth_scores(result.depth, scene.depth, range(8))
        seen = depth_scores(result.depth, scene.depth, range(8), measured=lambda t: result.maps(t)[2])
        assert full.delta1 > 0.9 and full.coverage == 1
        assert seen.delta1 > 0.97 and seen.coverage > 0.5
        assert absolute_error(result.cameras.poses, scene.poses).share < 0.02
        assert abs(np.log(result.cameras.focal[0] / scene.focal)) < 0.05
        assert run("depth", video, "-o", out).code == 1
        assert "skipped" in run("depth", video, "-o", out, "--resume").out

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            (("--depth-kind", "metric"), "--depth-folder"),
            (("--depth-model", "dpt-large", "--depth-folder", "x"), "--depth-model and --depth-folder"),
            (("--focal", "100", "--fov", "60"), "--focal and --fov"),
            (("--fov", "180"), "--fov"),
            (("--intrinsics", "none.txt"), "none.txt"),
            (("--filter", "-1"), "filter"),
            (("--grid", "3x3"), "grid"),
            (("--focal", "100", "--zoom"), "zoom"),
            (("--depth-folder", ".", "--no-solve"), "solve"),
        ],
    )
    def test_bad_words_are_one_line(
        self, run: Any, tmp_path: Path, room: tuple[Scene, Path], typed: tuple[str, ...], said: str
    ) -> None:
        ran = run("depth", room[1], "-o", tmp_path / "out", *typed)
        assert ran.code == 2 and said in ran.err and ran.err.count("\n") == 1
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("typed", "code", "said"),
        [
            (("--depth-model", "nothing"), 2, "nothing"),
            (("--depth-folder", "nowhere"), 2, "nowhere"),
            (("--depth-folder", "maps", "--depth-kind", "disparity", "--gauge", "median"), 2, "gauge"),
            (("--exr",), 1, "trackime[exr]"),
            (("--mesh",), 1, "trackime[open3d]"),
            (("--colmap", "text"), 2, "'a b.png'"),
        ],
    )
    def test_what_is_wrong_is_said_before_the_work(
        self, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: tuple[str, ...], code: int, said: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("OpenEXR", "open3d"):
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setattr("trackime_apps.depth.run.solve_shot", None)
        monkeypatch.setattr("trackime_apps.depth.run.find_cuts", None)
        (tmp_path / "maps").mkdir()
        (tmp_path / "frames").mkdir()
        for name in ("a b", "c", "d"):
            np.save(tmp_path / "maps" / f"{name}.npy", np.ones((48, 64)))
            cv2.imwrite(str(tmp_path / "frames" / f"{name}.png"), np.zeros((48, 64, 3), np.uint8))
        ran = run("depth", "frames", "-o", "out", *typed)
        assert ran.code == code and said in ran.err and ran.err.count("\n") == 1
        assert not (tmp_path / "out").exists()
