"""Files of a depth result, each read back by a reader of its own."""

from __future__ import annotations

import builtins
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.apps.depth import readers
from tests.apps.depth.wall import FRAMES, H, W, painted, plane, some_cameras, some_info, write
from trackime.errors import FormatError, InputError, MissingExtraError, ShapeError
from trackime.video import open_video
from trackime_apps.depth import Exports
from trackime_apps.depth.files import DepthColours, DepthFolder, export
from trackime_apps.depth.files import _cameras as camerafiles
from trackime_apps.depth.files._depth_range import DepthRange
from trackime_apps.depth.files._frames import PngScale, write_npz, write_png
from trackime_apps.depth.files.colours import _UNKNOWN

# ---- bad input


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1.0), ("metre", 0.0), ("relative", np.nan), ("relative", -1.0)])
def test_a_scale_of_nonsense_is_refused(unit: str, scale: float) -> None:
    with pytest.raises(InputError, match="expected"):
        PngScale(unit, scale)


def test_maps_and_results_of_other_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="depth"):
        write_npz(tmp_path / "x.npz", np.ones((2, 3)), np.ones((3, 2)), np.ones((2, 3), bool))
    cameras, info = some_cameras(), some_info()
    with pytest.raises(InputError, match="got 3 frames"):
        DepthFolder.begin(tmp_path, cameras, some_info(3), False)
    with pytest.raises(InputError, match="two called 'a'"):
        DepthFolder.begin(tmp_path, cameras, replace(info, names=("a", "b", "a", "c")), False)
    result = DepthFolder.begin(tmp_path / "out", cameras, info, False)
    good = (np.zeros((H, W, 3), np.uint8), np.ones((H, W)), np.ones((H, W)), np.ones((H, W), bool))
    for k in range(4):
        bad: list[Any] = [*good]
        bad[k] = bad[k][1:]
        with pytest.raises(ShapeError):
            result.write(0, *bad)
    with pytest.raises(ShapeError, match="dynamic"):
        result.write(0, *good, np.zeros((1, 1), bool))
    with pytest.raises(InputError, match=r"expected 0 \.\. 3, got 4"):
        result.write(4, *good)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".npz", ".png")]


def test_a_folder_that_is_no_result_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"cameras.tum: no such file"):
        DepthFolder.load(tmp_path)
    write(tmp_path)
    (tmp_path / "depth" / "a.npz").write_bytes(b"PK nonsense")
    (tmp_path / "images" / "a.png").write_bytes(b"")
    (tmp_path / "dynamic" / "a.png").unlink()
    result = DepthFolder.load(tmp_path)
    for read in (result.depth, result.image, result.dynamic):
        with pytest.raises(FormatError, match=r"a\.(png|npz)"):
            read(1)
    with pytest.raises(FormatError, match=r"a\.(png|npz)"):
        export(result, Exports())
    assert not (tmp_path / "cloud.ply").exists() and not list(tmp_path.glob(".*"))
    for name, text in (("cameras.tum", "0 1 2\n"), ("cameras.tum", "nan " * 8), ("intrinsics.json", "{}")):
        write(tmp_path)
        (tmp_path / name).write_text(text)
        with pytest.raises(FormatError, match=name):
            DepthFolder.load(tmp_path)


# ---- maps


def test_a_result_is_read_back_as_it_was(tmp_path: Path) -> None:
    for shared in (True, False):
        cameras = some_cameras(shared=shared)
        folder = tmp_path / str(shared)
        write(folder, metric=shared, cameras=cameras)
        result = DepthFolder.load(folder)
        assert len(result) == FRAMES and result.metric == shared and result.info.names == some_info().names
        assert (result.info.pts == some_info().pts).all() and (result.cameras.focal == cameras.focal).all()
        assert np.abs(result.cameras.poses - cameras.poses).max() < 1e-12
        for t in range(FRAMES):
            depth, confidence, measured = result.maps(t)
            true = plane(cameras, t)
            middle = np.s_[6:-6, 6:-8]
            assert depth.dtype == confidence.dtype == np.float32 and measured.dtype == bool
            assert (depth[middle] == true[middle]).all() and (depth[:3, :3] == 0).all()
            assert (confidence == np.where(depth > 0, 0.5, 0)).all()
            assert not measured[:3, :3].any() and not measured[-4:, -4:].any() and measured[middle].all()
            assert (result.image(t) == painted(cameras, t)).all()
            assert result.dynamic(t).sum() == 30 and result.dynamic(t)[:5, -6:].all()
    with np.load(folder / "depth" / "äöü.npz", allow_pickle=False) as file:
        assert set(file.files) == {"depth", "confidence", "measured"}
    assert {p.name for p in (folder / "images").iterdir()} == {f"{n}.png" for n in some_info().names}


@pytest.mark.parametrize("metric", [True, False])
def test_png_is_within_half_a_step_and_says_its_unit(tmp_path: Path, metric: bool) -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.2, 9, (7, 5)).astype(np.float32)
    depth[0] = (0, np.nan, np.inf, -1, 1e-9)
    scale = PngScale.reaching(8.0, metric)
    scale.save(tmp_path)
    write_png(tmp_path / "a.png", scale.values(depth))
    record = json.loads((tmp_path / "scale.json").read_text())
    assert record["unit"] == ("metre" if metric else "relative") and record["scale"] == scale.scale
    assert metric == (scale.scale == 0.001)  # millimetres, which relative depth is never called
    values = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16 and values[0].tolist() == [0, 0, 0, 0, 1]
    held = depth[1:] < 65535 * scale.scale
    assert np.abs(values[1:] * record["scale"] - depth[1:])[held].max() <= scale.scale / 2 * (1 + 1e-6)
    assert (values[1:][~held] == 65535).all() and held.any()
    assert np.allclose((values * record["scale"])[1:][held], depth[1:][held], atol=scale.scale)


def test_metres_too_far_for_millimetres_get_a_wider_step() -> None:
    scale = PngScale.reaching(200.0, metric=True)
    assert scale.unit == "metre" and scale.values(np.array([[200.0, 199.99]]))[0].tolist() == [65535, 65532]


def test_exr_holds_floats(tmp_path: Path) -> None:
    openexr = pytest.importorskip("OpenEXR")
    result = write(tmp_path)
    export(result, Exports(exr=True, png=False, movie=False, cloud=0, transforms=False))
    with openexr.File(str(tmp_path / "depth_exr" / "a.exr")) as file:
        assert list(file.channels()) == ["Z"] and "relative" in file.header()["comments"]
        assert (file.channels()["Z"].pixels == result.depth(1)).all()


@pytest.mark.parametrize(("module", "extra"), [("OpenEXR", "exr"), ("open3d", "open3d")])
def test_a_missing_extra_is_one_line_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == module:
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    result = write(tmp_path)
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    before = set(tmp_path.iterdir())
    with pytest.raises(MissingExtraError, match=rf"trackime\[{extra}\]"):
        export(result, Exports(exr=extra == "exr", mesh=extra == "open3d"))
    assert set(tmp_path.iterdir()) == before


# ---- the range of a video and its colours


def test_survey_finds_percentiles_without_keeping_depths() -> None:
    rng = np.random.default_rng(0)
    maps = [np.exp(rng.normal(1, 0.7, (20, 30))).astype(np.float32) for _ in range(5)]
    maps[2][:4] = 0
    maps[3][:2] = np.nan
    survey = DepthRange()
    for depth in maps:
        survey.add(depth)
    known = np.concatenate([m[np.isfinite(m) & (m > 0)] for m in maps])
    assert survey.count == len(known) and (survey.nearest, survey.farthest) == (known.min(), known.max())
    for share in (0, 1, 50, 99, 100):
        assert survey.percentile(share) == pytest.approx(np.percentile(known, share, method="inverted_cdf"), rel=6e-3)
    survey.add(np.full((1, 1), 1e9))
    assert survey.farthest == 1e9 and survey.reach == 4 * survey.percentile(99)
    empty = DepthRange()
    empty.add(np.zeros((2, 2)))
    assert (empty.count, empty.percentile(50), empty.reach) == (0, 0, 0)
    assert DepthColours.of(empty)(np.zeros((2, 2), np.float32)).tolist() == [[list(_UNKNOWN)] * 2] * 2


def test_colours_are_the_same_in_all_frames_and_brighter_when_near(tmp_path: Path) -> None:
    depth = np.array([[0, np.nan, 0.5, 1, 1.5, 2, 3, 5, 8, 100]], np.float32)
    colours = DepthColours(1.0, 8.0)
    picture = colours(depth)[0].astype(int)
    assert (picture[:2] == _UNKNOWN).all() and (picture[2] == picture[3]).all() and (picture[8] == picture[9]).all()
    light = cv2.cvtColor(picture[None].astype(np.uint8), cv2.COLOR_RGB2LAB)[0, 3:9, 0].astype(int)
    assert (np.diff(light) < 0).all()
    alone = colours(depth[:, 4:5])
    assert (alone[0, 0] == picture[4]).all()
    assert (
        DepthColours(2.0, 2.0)(np.full((1, 2), 2, np.float32)) == DepthColours(2.0, 2.0)(np.full((1, 2), 3, np.float32))
    ).all()
    write(tmp_path)
    export(DepthFolder.load(tmp_path), Exports(png=False, cloud=0, transforms=False))
    with open_video(tmp_path / "depth.mp4") as video:
        assert len(video) == FRAMES and (video.info.width, video.info.height) in ((W, H), (W + 1, H + 1))
        assert np.allclose(video.info.pts, some_info().pts, atol=1e-4)


# ---- cameras


@pytest.mark.parametrize("shared", [True, False])
def test_tum_and_transforms_are_read_by_others(tmp_path: Path, shared: bool) -> None:
    cameras, pts = some_cameras(shared=shared), some_info().pts
    camerafiles.write_tum(tmp_path / "cameras.tum", cameras, pts)
    for t, (time, pose) in enumerate(readers.tum(tmp_path / "cameras.tum")):
        assert time == pts[t] and np.abs(pose - cameras.poses[t]).max() < 1e-12
    images = [f"images/{t}.png" for t in range(FRAMES)]
    camerafiles.write_transforms(tmp_path / "transforms.json", cameras, images, cloud="cloud.ply")
    record = json.loads((tmp_path / "transforms.json").read_text())
    assert (record["w"], record["h"], record["cx"], record["cy"]) == (W, H, W / 2, H / 2)
    assert record["camera_model"] == "OPENCV" and record["ply_file_path"] == "cloud.ply"
    # A point of the world seen through an OpenGL camera: x right, y up, looking along -z.
    point = np.array([0.3, -0.2, 4, 1])
    for t, frame in enumerate(record["frames"]):
        x, y, z, _ = np.linalg.inv(frame["transform_matrix"]) @ point
        f = (record if shared else frame)["fl_x"]
        pixel = (W / 2 + f * x / -z, H / 2 - f * y / -z)
        assert z < 0 and np.allclose(pixel, cameras.project(point[None, :3], t)[0][0])
        assert frame["file_path"] == images[t] and "depth_file_path" not in frame
    with pytest.raises(InputError, match="4 frames"):
        camerafiles.write_transforms(tmp_path / "t.json", cameras, images[1:])
    with pytest.raises(InputError, match="4 times"):
        camerafiles.write_tum(tmp_path / "c.tum", cameras, pts[1:])


def test_nerfstudio_gets_depth_only_in_millimetres(tmp_path: Path) -> None:
    for metric in (True, False):
        export(write(tmp_path / str(metric), metric=metric), Exports(movie=False, cloud=0))
        frames = json.loads((tmp_path / str(metric) / "transforms.json").read_text())["frames"]
        assert all(("depth_file_path" in frame) == metric for frame in frames)
        for frame in frames:
            assert all((tmp_path / str(metric) / path).exists() for key, path in frame.items() if key.endswith("path"))


def test_half_turns_have_quaternions() -> None:
    turns = [cv2.Rodrigues(np.array(v, float))[0] for v in ((np.pi, 0, 0), (0, 3.1, 0), (0, 0, -np.pi), (2, 2, -1))]
    for turn, q in zip(turns, camerafiles.quaternions(turns), strict=True):
        assert q[0] >= 0 and np.allclose(readers.rotation(*q), turn, atol=1e-12)
