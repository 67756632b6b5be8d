"""`trackime-apps depth` from the outside, and the chain from a video to its depth and cameras."""

from __future__ import annotations

import gc
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from trackime.errors import InputError, OutputError, SolveError, TrackimeError
from trackime.metrics import absolute_error, depth_scores
from trackime.progress import silent
from trackime.types import Queries, Tracks, VideoInfo
from trackime.video import Video, VideoWriter, open_video
from trackime.worlds import Scene, make_scene
from trackime_apps import depth
from trackime_apps.depth import DepthConfig, DepthRequest, Exports, load
from trackime_apps.depth.files import DepthFolder
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


@pytest.fixture(scope="module")
def small_room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames and exact maps of a room: no more is needed for a result."""
    scene, folder = small(frames=3), tmp_path_factory.mktemp("small")
    for name in ("frames", "maps"):
        (folder / name).mkdir()
    for t in range(3):
        cv2.imwrite(str(folder / "frames" / f"{t}.png"), scene.frame(t)[..., ::-1])
        np.save(folder / "maps" / f"{t}.npy", scene.depth(t))
    return folder


class TestConfigs:
    @pytest.mark.parametrize("bad", [{"matches": 0}, {"filter": -1}, {"cuts": 1.0}, {"cuts": -0.1}])
    def test_depth(self, bad: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            DepthConfig(**bad)

    @pytest.mark.parametrize("bad", [{"cloud": -1}, {"colmap": "yes"}])
    def test_files(self, bad: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            Exports(**bad)

    @pytest.mark.parametrize("bad", [{"focal": 0.0}, {"focal": np.inf}, {"focal": 9.0, "depth": {"zoom": True}}])
    def test_request(self, bad: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            DepthRequest(DepthConfig(**bad.pop("depth", {})), **bad)

    def test_one_source(self, tmp_path: Path) -> None:
        assert Source().parallax and not Source("dpt-large").parallax and not Source(folder=tmp_path).parallax
        for bad in ({"model": "m", "folder": tmp_path}, {"kind": "depth"}, {"scale": 2.0}):
            with pytest.raises(InputError):
                Source(**bad)


class TestFunction:
    """The application as a function, in a few lines."""

    def test_use(self, small_room: Path, tmp_path: Path) -> None:
        from trackime_apps import depth
        from trackime_apps.depth import load

        result = depth(small_room / "frames", source=Source(folder=small_room / "maps"))
        assert result.depth[0].dtype == np.float32 and len(result.depth) == len(result.cameras) == len(result) == 3
        result.save(tmp_path / "out", exports=Exports(mesh=False))
        assert (load(tmp_path / "out").depth[2] == result.depth[2]).all()
        assert "solving" in result.seconds and "solving" not in silent.seconds

    def test_the_temporary_folder_goes_with_the_result(
        self, small_room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        result = depth(small_room / "frames", source=Source(folder=small_room / "maps"))
        kept = result.depth
        del result
        assert len(list(tmp_path.iterdir())) == 1 and kept[-1].shape == (120, 160)
        with pytest.raises(IndexError, match=r"0 \.\. 2, got 3"):
            kept[3]
        del kept
        gc.collect()
        assert not list(tmp_path.iterdir())

    def test_saving_refuses_what_is_there(self, small_room: Path, tmp_path: Path) -> None:
        result = depth(small_room / "frames", source=Source(folder=small_room / "maps"))
        (tmp_path / "file").write_text("mine")
        for path in (tmp_path, tmp_path / "file"):
            with pytest.raises(OutputError, match="is not empty"):
                result.save(path)
        assert [p.name for p in tmp_path.iterdir()] == ["file"]

    @pytest.mark.parametrize("fails", [False, True])
    def test_it_closes_the_video_that_it_opened_and_no_other(
        self, small_room: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
    ) -> None:
        opened: list[Video] = []

        def opening(source: Any) -> Video:
            opened.append(open_video(source))
            return opened[-1]

        monkeypatch.setattr("trackime_apps.depth.run.open_video", opening)
        source, lent = Source(folder=small_room / ("frames" if fails else "maps")), open_video(small_room / "frames")
        for video in (small_room / "frames", lent):
            with pytest.raises(TrackimeError) if fails else nullcontext():
                depth(video, source=source)
        (own,) = opened
        assert own._closed and not lent._closed


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
    def test_no_parallax_is_one_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], said: str
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        with pytest.raises(SolveError) as error:
            depth(small(**options).video)
        assert said in str(error.value) and "\n" not in str(error.value)
        assert not list(tmp_path.iterdir())

    def test_three_frames_are_enough(self) -> None:
        scene = small(frames=3, movers=0, path="orbit")
        result = depth(scene.video)
        seen = depth_scores(result.depth.__getitem__, scene.depth, range(3), measured=result.measured.__getitem__)
        assert seen.delta1 > 0.95 and seen.coverage > 0.3
        assert absolute_error(result.cameras.poses, scene.poses).share < 0.02

    def test_a_cut_parts_two_worlds(self, tmp_path: Path) -> None:
        scene = small(frames=12, cut=True, path="orbit", movers=0)
        found = depth(scene.video)
        assert len(found) == 12 and found.unit == "relative" and found.cameras.poses.shape == (12, 4, 4)
        assert (found.images[7] == scene.video[7]).all() and (found.images[-1] == scene.video[11]).all()
        saved = found.save(tmp_path / "out", Exports(png=False, movie=False, cloud=0))
        assert all((a == b).all() for a, b in zip(found.depth, load(tmp_path / "out").depth, strict=True))
        assert (tmp_path / "out" / "shot_00006" / "colmap" / "sparse" / "0" / "points3D.bin").stat().st_size > 100
        assert saved.shots[1].folder.folder == tmp_path / "out" / "shot_00006"
        assert [(shot.start, shot.stop) for shot in found.shots] == [(0, 6), (6, 12)]
        for shot in found.shots:
            again = DepthFolder.load(tmp_path / "out" / f"shot_{shot.start:05d}")
            assert again.info.names == tuple(f"{t:05d}" for t in range(shot.start, shot.stop))
            assert np.allclose(again.cameras.poses[0], np.eye(4), atol=1e-6)
            error = absolute_error(again.cameras.poses, scene.poses[shot.start : shot.stop])
            assert error.share < 0.02
        assert {p.name for p in (tmp_path / "out").iterdir()} == {"shot_00000", "shot_00006"}

    def test_tracks_and_a_focal_length_that_are_given(self, room: tuple[Scene, Path]) -> None:
        scene = room[0]
        tracks = Tracks.concat([scene.sample(400, t=t, seed=t) for t in (0, 4, 7)])
        still = tracks[tracks.instance <= 0]
        cameras = depth(scene.video, tracks=still, focal=scene.focal).cameras
        assert np.allclose(cameras.focal, scene.focal)
        assert absolute_error(cameras.poses, scene.poses).share < 0.01

    def test_what_cannot_be(self, tmp_path: Path) -> None:
        video = np.zeros((4, 48, 64, 3), np.uint8)
        with pytest.raises(InputError, match="focal"):
            depth(video, focal=-1)
        other = Tracks(np.zeros((1, 5, 2)), np.ones((1, 5)), Queries(np.zeros((1, 3))), VideoInfo.regular(64, 48, 5))
        with pytest.raises(InputError, match="tracks"):
            depth(video, tracks=other)
        with pytest.raises(SolveError, match="--depth-model"):
            depth(video)  # black
        (tmp_path / "maps").mkdir()
        for t in range(4):
            np.save(tmp_path / "maps" / f"{t}.npy", np.ones((48, 64)))
        never = Tracks(np.zeros((1, 4, 2)), np.zeros((1, 4)), Queries(np.zeros((1, 3))), VideoInfo.regular(64, 48, 4))
        with pytest.raises(SolveError, match="expected static points"):
            depth(video, source=Source(folder=tmp_path / "maps"), tracks=never)

    def test_maps_in_order_of_a_video_with_a_cut(self, tmp_path: Path) -> None:
        """They bear no frames' names: which is whose is told for the whole video, not shot by shot."""
        scene = small(frames=8, cut=True, path="orbit", movers=0)
        (tmp_path / "maps").mkdir()
        for t in range(8):
            np.save(tmp_path / "maps" / f"map {t}.npy", scene.depth(t)[::2, ::2])
        found = depth(scene.video, source=Source(folder=tmp_path / "maps"), focal=scene.focal)
        assert [shot.start for shot in found.shots] == [0, 4]
        for shot in found.shots:
            scores = depth_scores(shot.folder.depth, lambda t, first=shot.start: scene.depth(first + t), range(4))
            assert scores.delta1 > 0.98

    def test_maps_of_a_folder(self, tmp_path: Path, room: tuple[Scene, Path]) -> None:
        """Metric depth spoiled by a factor a frame: the factors go, the metres stay."""
        scene = room[0]
        factors = np.exp(np.random.default_rng(0).normal(0, 0.2, len(scene)))
        (tmp_path / "maps").mkdir()
        for t, factor in enumerate(factors):
            np.save(tmp_path / "maps" / f"{t:05d}.npy", scene.depth(t)[::2, ::2] * factor)
        source = Source(folder=tmp_path / "maps", kind="metric")
        result = depth(scene.video, source=source, focal=scene.focal)
        assert result.unit == "metre" and result.depth[0].shape == (120, 160)
        scores = depth_scores(result.depth.__getitem__, scene.depth, range(len(scene)), alignment="none")
        assert scores.delta1 > 0.95 and scores.coverage == 1
        relative = depth_scores(result.depth.__getitem__, scene.depth, range(len(scene)))
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
        (shot,) = depth(scene.video, source=source, tracks=tracks, focal=scene.focal, config=DepthConfig(cuts=0)).shots
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
        result = load(out)
        full = depth_scores(result.depth.__getitem__, scene.depth, range(8))
        seen = depth_scores(result.depth.__getitem__, scene.depth, range(8), measured=result.measured.__getitem__)
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
            (("--depth-folder", "maps", "--depth-kind", "disparity", "--config", "median.toml"), 2, "gauge"),
            (("--gauge", "median"), 2, "--gauge"),  # only in files
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
        (tmp_path / "median.toml").write_text('[solver]\ngauge = "median"\n')
        (tmp_path / "maps").mkdir()
        (tmp_path / "frames").mkdir()
        for name in ("a b", "c", "d"):
            np.save(tmp_path / "maps" / f"{name}.npy", np.ones((48, 64)))
            cv2.imwrite(str(tmp_path / "frames" / f"{name}.png"), np.zeros((48, 64, 3), np.uint8))
        ran = run("depth", "frames", "-o", "out", *typed)
        assert ran.code == code and said in ran.err and ran.err.count("\n") == 1
        assert not (tmp_path / "out").exists()
