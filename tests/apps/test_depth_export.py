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

from tests.apps import depth_readers as readers
from trackime.errors import FormatError, InputError, MissingExtraError, ShapeError
from trackime.types import Queries, Tracks, VideoInfo
from trackime.video import open_video
from trackime_apps.depth import camerafiles
from trackime_apps.depth import export as exporting
from trackime_apps.depth.cameras import Cameras
from trackime_apps.depth.cloud import CloudFusion, flying, surface
from trackime_apps.depth.colmap import write_colmap
from trackime_apps.depth.depthvideo import UNKNOWN, Colouring
from trackime_apps.depth.export import Exports, export
from trackime_apps.depth.mapfiles import PngScale, read_png, write_npz, write_png
from trackime_apps.depth.ply import read_ply, write_ply
from trackime_apps.depth.points import PointColours, WorldPoints, explained, points_of
from trackime_apps.depth.results import DepthResult, load
from trackime_apps.depth.survey import Survey
from trackime_apps.depth.trails import Trails

W, H, FRAMES = 33, 25, 4


def some_cameras(frames: int = FRAMES, width: int = W, height: int = H, shared: bool = True) -> Cameras:
    """Cameras that look at z = 4 or so from around the origin; the first is the world."""
    rng = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for t in range(1, frames):
        poses[t, :3, :3] = cv2.Rodrigues(rng.normal(0, 0.05, 3))[0]
        poses[t, :3, 3] = rng.normal(0, 0.3, 3)
    focal = np.full(frames, 40.0) if shared else np.linspace(38, 44, frames)
    return Cameras(poses, focal, width, height)


def plane(cameras: Cameras, t: int, far: float = 4.0) -> np.ndarray:
    """float32 [H, W], depth of the wall z = far of the world."""
    y, x = np.mgrid[: cameras.height, : cameras.width] + 0.5
    ray = cameras.lift(np.stack((x.ravel(), y.ravel()), 1), np.ones(x.size), t) - cameras.poses[t, :3, 3]
    return ((far - cameras.poses[t, 2, 3]) / ray[:, 2]).reshape(x.shape).astype(np.float32)


def painted(cameras: Cameras, t: int) -> np.ndarray:
    """The wall's picture: red and green tell where on it a pixel looks, to 1/40 of a unit."""
    y, x = np.mgrid[: cameras.height, : cameras.width] + 0.5
    xyz = cameras.lift(np.stack((x.ravel(), y.ravel()), 1), plane(cameras, t).ravel(), t)
    return (
        np.dstack([*(xyz[:, :2].T * 40 + 128), np.full(len(xyz), 7)])
        .reshape(cameras.height, cameras.width, 3)
        .astype(np.uint8)
    )


def some_info(frames: int = FRAMES, width: int = W, height: int = H) -> VideoInfo:
    names = ("b frame", "a", "äöü", "007")[:frames]
    return VideoInfo(width, height, np.array([0, 0.04, 0.1, 1 / 3])[:frames], names)


def write(folder: Path, metric: bool = False, frames: int = FRAMES, cameras: Cameras | None = None) -> DepthResult:
    """A result of the wall with a mover in one corner, something filled in another and a hole."""
    cameras = cameras or some_cameras(frames)
    result = DepthResult.begin(folder, cameras, some_info(frames), metric)
    for t in range(frames):
        depth, measured, moving = plane(cameras, t), np.ones((H, W), bool), np.zeros((H, W), bool)
        depth[:3, :3], measured[-4:, -4:], moving[:5, -6:] = np.nan, False, True
        depth[moving], depth[~measured] = 2.0, 3.0
        result.write(t, painted(cameras, t), depth, np.full((H, W), 0.5), measured, moving)
    return result


def seen_points(cameras: Cameras, count: int = 30, noise: float = 0.0) -> tuple[Trails, np.ndarray]:
    """Points of the wall and where they are seen."""
    rng = np.random.default_rng(1)
    points = np.concatenate((rng.uniform(-1.2, 1.2, (count, 2)), np.full((count, 1), 4.0)), 1)
    frames = len(cameras)
    xy = np.stack([cameras.project(points, t)[0] for t in range(frames)], 1)
    seen = ((xy >= 0) & (xy <= (cameras.width, cameras.height))).all(-1)
    seen &= rng.random(seen.shape) < 0.8
    seen[:, 0] = True
    xy = np.clip(xy + rng.normal(0, noise, xy.shape), 0, (cameras.width, cameras.height))
    info = VideoInfo.regular(cameras.width, cameras.height, frames)
    tracks = Tracks(xy, seen.astype(float), Queries(np.zeros((count, 3)), np.arange(count)), info)
    trails = Trails.of(tracks)
    return trails, points[trails.instance]


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
        DepthResult.begin(tmp_path, cameras, some_info(3), False)
    with pytest.raises(InputError, match="two of one name"):
        DepthResult.begin(tmp_path, cameras, replace(info, names=("a", "b", "a", "c")), False)
    result = DepthResult.begin(tmp_path / "out", cameras, info, False)
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
        load(tmp_path)
    write(tmp_path)
    (tmp_path / "depth" / "a.npz").write_bytes(b"PK nonsense")
    (tmp_path / "images" / "a.png").write_bytes(b"")
    (tmp_path / "dynamic" / "a.png").unlink()
    result = load(tmp_path)
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
            load(tmp_path)


def test_points_and_clouds_of_nonsense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="points"):
        write_ply(tmp_path / "a.ply", np.zeros((3, 2)), np.zeros((3, 3), np.uint8))
    with pytest.raises(ShapeError, match="colours"):
        write_ply(tmp_path / "a.ply", np.zeros((3, 3)), np.zeros((3, 3)))
    with pytest.raises(InputError, match="finite"):
        write_ply(tmp_path / "a.ply", np.full((1, 3), np.nan), np.zeros((1, 3), np.uint8))
    for voxel, points in ((0.0, 5), (np.nan, 5), (1.0, 0)):
        with pytest.raises(InputError, match="voxel above 0"):
            CloudFusion(voxel, points)
    with pytest.raises(InputError, match="0 points or more"):
        Exports(cloud=-1)
    (tmp_path / "b.ply").write_bytes(b"ply\nformat ascii 1.0\nend_header\n")
    with pytest.raises(FormatError, match=r"b.ply"):
        read_ply(tmp_path / "b.ply")
    cameras = some_cameras()
    trails, points = seen_points(cameras)
    world = WorldPoints(points, trails, np.zeros(len(points)))
    with pytest.raises(InputError, match="as many images as cameras"):
        write_colmap(tmp_path / "m", cameras, ["a.png"], world)
    with pytest.raises(InputError, match="without spaces"):
        write_colmap(tmp_path / "m", cameras, ["a\nb.png"] * 4, world, text=True)
    with pytest.raises(ShapeError, match="static"):
        points_of(trails, np.ones(3, bool), cameras, lambda t: plane(cameras, t))
    with pytest.raises(ShapeError, match="depth of frame 0"):
        points_of(trails, np.ones(len(trails), bool), cameras, lambda t: np.ones((2, 2), np.float32))
    with pytest.raises(InputError, match="near <= far"):
        Colouring(2.0, 1.0)


# ---- maps


def test_a_result_is_read_back_as_it_was(tmp_path: Path) -> None:
    for shared in (True, False):
        cameras = some_cameras(shared=shared)
        folder = tmp_path / str(shared)
        write(folder, metric=shared, cameras=cameras)
        result = load(folder)
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
    write_png(tmp_path / "a.png", depth, scale)
    record = json.loads((tmp_path / "scale.json").read_text())
    assert record["unit"] == ("metre" if metric else "relative") and record["scale"] == scale.scale
    assert metric == (scale.scale == 0.001)  # millimetres, which relative depth is never called
    values = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16 and values[0].tolist() == [0, 0, 0, 0, 1]
    held = depth[1:] < 65535 * scale.scale
    assert np.abs(values[1:] * record["scale"] - depth[1:])[held].max() <= scale.scale / 2 * (1 + 1e-6)
    assert (values[1:][~held] == 65535).all() and held.any()
    again = PngScale.load(tmp_path)
    assert again == scale and np.allclose(
        read_png(tmp_path / "a.png", again)[1:][held], depth[1:][held], atol=scale.scale
    )
    (tmp_path / "scale.json").write_text('{"unit": "mm", "scale": 1}')
    with pytest.raises(FormatError, match=r"scale.json"):
        PngScale.load(tmp_path)


def test_metres_too_far_for_millimetres_get_a_wider_step() -> None:
    scale = PngScale.reaching(200.0, metric=True)
    assert scale.unit == "metre" and scale.values(np.array([[200.0, 199.99]]))[0].tolist() == [65535, 65532]


def test_exr_holds_floats(tmp_path: Path) -> None:
    openexr = pytest.importorskip("OpenEXR")
    result = write(tmp_path)
    export(result, Exports(exr=True, png=False, video=False, cloud=0, transforms=False))
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
    survey = Survey(maps)
    known = np.concatenate([m[np.isfinite(m) & (m > 0)] for m in maps])
    assert survey.count == len(known) and (survey.nearest, survey.farthest) == (known.min(), known.max())
    for share in (0, 1, 50, 99, 100):
        assert survey.percentile(share) == pytest.approx(np.percentile(known, share, method="inverted_cdf"), rel=6e-3)
    survey.add(np.full((1, 1), 1e9))
    assert survey.farthest == 1e9 and survey.reach == 4 * survey.percentile(99)
    empty = Survey([np.zeros((2, 2))])
    assert (empty.count, empty.percentile(50), empty.reach) == (0, 0, 0)
    assert Colouring.of(empty)(np.zeros((2, 2), np.float32)).tolist() == [[list(UNKNOWN)] * 2] * 2


def test_colours_are_the_same_in_all_frames_and_brighter_when_near(tmp_path: Path) -> None:
    depth = np.array([[0, np.nan, 0.5, 1, 1.5, 2, 3, 5, 8, 100]], np.float32)
    colours = Colouring(1.0, 8.0)
    picture = colours(depth)[0].astype(int)
    assert (picture[:2] == UNKNOWN).all() and (picture[2] == picture[3]).all() and (picture[8] == picture[9]).all()
    light = cv2.cvtColor(picture[None].astype(np.uint8), cv2.COLOR_RGB2LAB)[0, 3:9, 0].astype(int)
    assert (np.diff(light) < 0).all()
    alone = colours(depth[:, 4:5])
    assert (alone[0, 0] == picture[4]).all()
    assert (
        Colouring(2.0, 2.0)(np.full((1, 2), 2, np.float32)) == Colouring(2.0, 2.0)(np.full((1, 2), 3, np.float32))
    ).all()
    write(tmp_path)
    export(load(tmp_path), Exports(png=False, cloud=0, transforms=False))
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
        export(write(tmp_path / str(metric), metric=metric), Exports(video=False, cloud=0))
        frames = json.loads((tmp_path / str(metric) / "transforms.json").read_text())["frames"]
        assert all(("depth_file_path" in frame) == metric for frame in frames)
        for frame in frames:
            assert all((tmp_path / str(metric) / path).exists() for key, path in frame.items() if key.endswith("path"))


def test_half_turns_have_quaternions() -> None:
    turns = [cv2.Rodrigues(np.array(v, float))[0] for v in ((np.pi, 0, 0), (0, 3.1, 0), (0, 0, -np.pi), (2, 2, -1))]
    for turn, q in zip(turns, camerafiles.quaternions(turns), strict=True):
        assert q[0] >= 0 and np.allclose(readers.rotation(*q), turn, atol=1e-12)


# ---- clouds


def test_ply_is_read_by_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    xyz, rgb = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 256, (20, 3), dtype=np.uint8)
    for count in (0, 1, 20):
        write_ply(tmp_path / "a.ply", xyz[:count], rgb[:count], "metres;\nx right")
        points, colours, comments = readers.ply(tmp_path / "a.ply")
        assert (points == xyz[:count]).all() and (colours == rgb[:count]).all()
        assert comments == ["comment metres; x right"]
        again = read_ply(tmp_path / "a.ply")
        assert (again[0] == xyz[:count]).all() and (again[1] == rgb[:count]).all()


def test_cubes_hold_the_mean_of_their_points() -> None:
    rng = np.random.default_rng(0)
    points, colours = rng.uniform(-1, 1, (500, 3)), rng.integers(0, 256, (500, 3), dtype=np.uint8)
    cloud = CloudFusion(0.4, 1000)
    for part in np.array_split(np.arange(500), 7):
        cloud.add(points[part], colours[part])
    cloud.add([[np.nan, 0, 0], [0, np.inf, 0]], np.zeros((2, 3), np.uint8))
    xyz, rgb = cloud.finish()
    cells: dict[tuple[int, ...], list[int]] = {}
    for k, point in enumerate(points):
        cells.setdefault(tuple(np.floor(point / 0.4).astype(int)), []).append(k)
    wanted = sorted([*points[rows].mean(0), *colours[rows].mean(0)] for rows in cells.values())
    got = sorted(np.concatenate((xyz, rgb), 1).tolist())
    assert np.allclose([w[:3] for w in wanted], [g[:3] for g in got], atol=1e-6)
    assert np.abs(np.array(wanted)[:, 3:] - np.array(got)[:, 3:]).max() <= 0.5 + 1e-9


def test_a_cloud_never_exceeds_its_points_and_stays_on_the_surface() -> None:
    cloud = CloudFusion(1e-3, 300)
    rng = np.random.default_rng(0)
    for _ in range(20):
        xy = rng.uniform(-1, 1, (200, 2))
        cloud.add(np.concatenate((xy, np.full((200, 1), 2.0)), 1), np.zeros((200, 3), np.uint8))
        assert len(cloud._sums) <= 300 and cloud._waiting < 300
    xyz, _ = cloud.finish()
    assert 60 < len(xyz) <= 300 and np.allclose(xyz[:, 2], 2)
    assert len(CloudFusion(1.0).finish()[0]) == 0


def test_pixels_between_surfaces_are_left_out_and_slopes_are_not() -> None:
    depth = np.full((9, 12), 2.0, np.float32)
    depth[:, 6:] = 5.0
    depth[:, 6] = 3.0  # between the two
    depth[4, 2] = 0
    out = flying(depth)
    assert out[:, 6].all() and out[4, 2] and not out[:, :4][np.arange(9) != 4].any() and not out[:, 8:].any()
    cameras = some_cameras(1)
    x = (np.arange(W) + 0.5 - W / 2) / 40
    steep = np.tile(1 / (0.5 + 0.5 * x), (H, 1)).astype(np.float32)  # a plane seen at a slant: z (0.5 + 0.5 x/z) = 1
    assert not flying(steep).any()
    points, colours = surface(cameras, 0, steep, np.ones((H, W), bool), painted(cameras, 0), 3)
    assert len(points) == len(range(0, W, 3)) * len(range(0, H, 3)) and colours.dtype == np.uint8
    assert np.allclose(0.5 * points[:, 2] + 0.5 * points[:, 0], 1)


@pytest.mark.parametrize("frames", [FRAMES, 1])
def test_the_cloud_is_the_wall_without_mover_fill_or_hole(tmp_path: Path, frames: int) -> None:
    figures = export(write(tmp_path, frames=frames), Exports())
    xyz, rgb, comments = readers.ply(tmp_path / "cloud.ply")
    assert len(xyz) == figures["cloud"] > 100 and np.allclose(xyz[:, 2], 4, atol=1e-5)
    assert np.abs(xyz[:, :2] * 40 + 128 - rgb[:, :2]).max() < 12  # a cube is 0.2 wide: 8 levels
    assert (rgb[:, 2] == 7).all() and "relative" in comments[0]


def test_a_video_without_any_depth_is_written_too(tmp_path: Path) -> None:
    result = DepthResult.begin(tmp_path, some_cameras(), some_info(), metric=True)
    for t in range(FRAMES):
        nothing = np.zeros((H, W))
        result.write(t, np.zeros((H, W, 3), np.uint8), nothing, nothing, nothing > 0)
    figures = export(result, Exports())
    assert figures == {"nearest": 0, "median": 0, "farthest": 0, "cloud": 0}
    assert len(readers.ply(tmp_path / "cloud.ply")[0]) == 0
    assert "ply_file_path" not in json.loads((tmp_path / "transforms.json").read_text())


def test_the_mesh_is_the_wall(tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d")
    figures = export(write(tmp_path), Exports(mesh=True, png=False, video=False, cloud=0))
    mesh = open3d.io.read_triangle_mesh(str(tmp_path / "mesh.ply"))
    vertices, colours = np.asarray(mesh.vertices), np.asarray(mesh.vertex_colors) * 255
    assert len(mesh.triangles) == figures["triangles"] > 50 and np.abs(vertices[:, 2] - 4).max() < 0.05
    assert np.abs(vertices[:, :2] * 40 + 128 - colours[:, :2]).max() < 12


# ---- points and COLMAP models


def test_points_come_from_depth_and_tracks() -> None:
    cameras = some_cameras(6)
    trails, true = seen_points(cameras, noise=0.1)
    rng = np.random.default_rng(0)
    xy = trails.xy.copy()
    xy[5] += 30  # one sighting of another point
    wrong = replace(trails, xy=np.clip(xy, 0, (W, H)))

    def depth(t: int) -> np.ndarray:
        spoiled = plane(cameras, t) * np.exp(rng.normal(0, 0.05, (H, W)))
        spoiled[rng.random((H, W)) < 0.1] = 0
        return spoiled.astype(np.float32)

    static = np.ones(len(trails), bool)
    static[3] = False
    world = points_of(wrong, static, cameras, depth)
    which = world.trails.instance
    assert len(world) >= 25 and trails.instance[3] not in which
    error = np.abs(world.points - np.array([true[list(trails.instance).index(k)] for k in which]))
    assert np.median(error[:, :2]) < 0.02 and np.median(error[:, 2]) < 0.15
    assert np.median(world.error) < 0.2 and world.error.max() < 4 and (world.trails.length >= 2).all()
    # Better than depth alone: the same without refinement.
    for k in range(len(world)):
        rows = slice(*world.trails.first[k : k + 2])
        miss = [cameras.project(world.points[k : k + 1], t)[0][0] for t in world.trails.frame[rows]]
        assert world.error[k] == pytest.approx(np.hypot(*(miss - world.trails.xy[rows]).T).mean(), abs=1e-9)
    fewer = world.most_seen(7)
    assert len(fewer) == 7 and fewer.trails.length.min() >= np.sort(world.trails.length)[-7:].min()


def test_known_points_keep_the_sightings_that_fit() -> None:
    cameras = some_cameras(5)
    trails, true = seen_points(cameras)
    chosen = np.array([4, 1, 9])
    moved = true[chosen].copy()
    moved[2, 0] += 3  # fits nowhere
    world = explained(trails, moved, chosen, cameras)
    keep = [k for k in (0, 1) if trails.length[chosen[k]] >= 2]
    assert (world.points == moved[keep]).all() and world.error.max(initial=0) < 1e-4
    assert (world.trails.instance == trails.instance[chosen[keep]]).all()
    with pytest.raises(ShapeError, match="points"):
        explained(trails, true, chosen, cameras)


def test_no_points_are_points_too(tmp_path: Path) -> None:
    cameras = some_cameras()
    for trails in (Trails.none(FRAMES), seen_points(cameras)[0]):
        world = points_of(trails, np.zeros(len(trails), bool), cameras, lambda t: plane(cameras, t))
        assert len(world) == 0 and len(explained(trails, np.zeros((0, 3)), [], cameras)) == 0
    blind = points_of(seen_points(cameras)[0], np.ones(30, bool), cameras, lambda t: np.zeros((H, W), np.float32))
    assert len(blind) == 0
    write_colmap(tmp_path / "0", cameras, list("abcd"), world)
    assert [len(part) for part in readers.colmap(tmp_path / "0")] == [1, FRAMES, 0]


def a_world(cameras: Cameras) -> WorldPoints:
    trails, points = seen_points(cameras)
    return WorldPoints(points, trails, np.linspace(0.1, 0.5, len(points)))


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_colmap_models_are_read_by_others(tmp_path: Path, text: bool, shared: bool) -> None:
    cameras = some_cameras(shared=shared)
    world = a_world(cameras)
    colours = np.random.default_rng(0).integers(0, 256, (len(world), 3), dtype=np.uint8)
    names = [f"{name}.png".replace(" ", "_") for name in some_info().names]
    write_colmap(tmp_path / "0", cameras, names, world, colours, text=text)
    found, images, points = readers.colmap(tmp_path / "0")
    assert {c[:3] for c in found.values()} == {("PINHOLE", W, H)} and len(found) == (1 if shared else FRAMES)
    assert [images[t + 1][3] for t in range(FRAMES)] == names
    for k in range(len(world)):
        xyz, rgb, error, track = points[k + 1]
        assert (
            np.allclose(xyz, world.points[k])
            and rgb == tuple(colours[k])
            and error == pytest.approx(world.error[k], rel=1e-5)
        )
        assert [image - 1 for image, _ in track] == world.trails.frame[slice(*world.trails.first[k : k + 2])].tolist()
        for image, place in track:
            quaternion, shift, camera, _, seen = images[image]
            x, y, owner = seen[place]
            local = readers.rotation(*quaternion) @ xyz + shift
            fx, fy, cx, cy = found[camera][3]
            pixel = (fx * local[0] / local[2] + cx, fy * local[1] / local[2] + cy)
            assert owner == k + 1 and np.allclose(pixel, (x, y), atol=1e-3)
    assert sum(len(image[4]) for image in images.values()) == len(world.trails.frame)
    write_colmap(tmp_path / "few", cameras, names, world, colours, text=text, points=5)
    few = readers.colmap(tmp_path / "few")[2]
    longest = np.sort(np.argsort(-world.trails.length, kind="stable")[:5])
    assert [few[k + 1][1] for k in range(5)] == [tuple(colours[j]) for j in longest] and len(few) == 5


@pytest.mark.parametrize("text", [False, True])
def test_pycolmap_reads_the_model_and_agrees_on_errors(tmp_path: Path, text: bool) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    cameras = some_cameras(shared=False)
    world = a_world(cameras)
    write_colmap(tmp_path / "0", cameras, [f"{t}.png" for t in range(FRAMES)], world, text=text)
    model = pycolmap.Reconstruction(str(tmp_path / "0"))
    assert model.num_reg_images() == FRAMES and model.num_points3D() == len(world)
    assert model.compute_num_observations() == len(world.trails.frame)
    for t in range(FRAMES):
        image = model.image(t + 1)
        pose = np.linalg.inv(np.vstack((image.cam_from_world().matrix(), [0, 0, 0, 1])))
        assert np.abs(pose - cameras.poses[t]).max() < 1e-9
        pixel, _ = cameras.project(world.points[:5], t)
        assert np.allclose([image.project_point(p) for p in world.points[:5]], pixel, atol=1e-9)
    model.update_point_3d_errors()
    assert max(point.error for point in model.points3D.values()) < 1e-3  # pixels have the same origin


def test_an_export_has_a_model_with_the_colours_of_its_points(tmp_path: Path) -> None:
    result = write(tmp_path)
    trails, _ = seen_points(result.cameras)
    world = points_of(trails, np.ones(len(trails), bool), result.cameras, result.depth)
    stages = []
    figures = export(result, Exports(png=False, video=False, cloud=0), world, lambda *step: stages.append(step))
    _, images, points = readers.colmap(tmp_path / "colmap" / "sparse" / "0")
    assert figures["points"] == len(points) == len(world) > 10
    assert {image[3] for image in images.values()} == {p.name for p in (tmp_path / "images").iterdir()}
    inner = [p for p in points.values() if abs(p[0][2] - 4) < 0.05]
    assert inner and all(np.abs(np.array(p[0][:2]) * 40 + 128 - p[1][:2]).max() < 8 for p in inner)
    assert stages[-1] == ("export", FRAMES, FRAMES) and ("survey", 1, FRAMES) in stages
    grey = PointColours(trails)
    assert (grey.finish() == 128).all()


def test_long_videos_are_fused_from_frames_spread_evenly() -> None:
    assert exporting._fused(1) == {0} and exporting._fused(3) == {0, 1, 2}
    many = sorted(exporting._fused(10_000))
    assert len(many) == exporting.FUSED_FRAMES and (many[0], many[-1]) == (0, 9_999)
    assert max(np.diff(many)) - min(np.diff(many)) <= 1
