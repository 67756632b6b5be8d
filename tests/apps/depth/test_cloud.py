"""Clouds, meshes, points and COLMAP models, each read back by a reader of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.apps.depth import readers
from tests.apps.depth.wall import FRAMES, H, W, painted, plane, seen_points, some_cameras, some_info, write
from trackime.errors import InputError, ShapeError
from trackime.geometry import Cameras
from trackime.types import RaggedTracks
from trackime_apps.depth import Exports
from trackime_apps.depth.files import DepthColours, DepthFolder, export
from trackime_apps.depth.files import _export as exporting
from trackime_apps.depth.files._cloud import CloudFusion, flying, surface
from trackime_apps.depth.files._colmap import write_colmap
from trackime_apps.depth.files._ply import write_ply
from trackime_apps.depth.sfm import PointColours, WorldPoints, points_of

# ---- bad input


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
        DepthColours(2.0, 1.0)


# ---- clouds


def test_ply_is_read_by_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    xyz, rgb = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 256, (20, 3), dtype=np.uint8)
    for count in (0, 1, 20):
        write_ply(tmp_path / "a.ply", xyz[:count], rgb[:count], "metres;\nx right")
        points, colours, comments = readers.ply(tmp_path / "a.ply")
        assert (points == xyz[:count]).all() and (colours == rgb[:count]).all()
        assert comments == ["comment metres; x right"]


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
    result = DepthFolder.begin(tmp_path, some_cameras(), some_info(), metric=True)
    for t in range(FRAMES):
        nothing = np.zeros((H, W))
        result.write(t, np.zeros((H, W, 3), np.uint8), nothing, nothing, nothing > 0)
    figures = export(result, Exports())
    assert figures == {"nearest": 0, "median": 0, "farthest": 0, "cloud": 0}
    assert len(readers.ply(tmp_path / "cloud.ply")[0]) == 0
    assert "ply_file_path" not in json.loads((tmp_path / "transforms.json").read_text())


def test_the_mesh_is_the_wall(tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d")
    figures = export(write(tmp_path), Exports(mesh=True, png=False, movie=False, cloud=0))
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
    which = world.tracks.instance
    assert len(world) >= 25 and trails.instance[3] not in which
    error = np.abs(world.points - np.array([true[list(trails.instance).index(k)] for k in which]))
    assert np.median(error[:, :2]) < 0.02 and np.median(error[:, 2]) < 0.15
    assert np.median(world.error) < 0.2 and world.error.max() < 4 and (world.tracks.length >= 2).all()
    # Better than depth alone: the same without refinement.
    for k in range(len(world)):
        rows = slice(*world.tracks.first[k : k + 2])
        miss = [cameras.project(world.points[k : k + 1], t)[0][0] for t in world.tracks.frame[rows]]
        assert world.error[k] == pytest.approx(np.hypot(*(miss - world.tracks.xy[rows]).T).mean(), abs=1e-9)
    fewer = world.most_seen(7)
    assert len(fewer) == 7 and fewer.tracks.length.min() >= np.sort(world.tracks.length)[-7:].min()


def test_no_points_are_points_too(tmp_path: Path) -> None:
    cameras = some_cameras()
    for trails in (RaggedTracks.none(FRAMES), seen_points(cameras)[0]):
        world = points_of(trails, np.zeros(len(trails), bool), cameras, lambda t: plane(cameras, t))
        assert len(world) == 0
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
        assert [image - 1 for image, _ in track] == world.tracks.frame[slice(*world.tracks.first[k : k + 2])].tolist()
        for image, place in track:
            quaternion, shift, camera, _, seen = images[image]
            x, y, owner = seen[place]
            local = readers.rotation(*quaternion) @ xyz + shift
            fx, fy, cx, cy = found[camera][3]
            pixel = (fx * local[0] / local[2] + cx, fy * local[1] / local[2] + cy)
            assert owner == k + 1 and np.allclose(pixel, (x, y), atol=1e-3)
    assert sum(len(image[4]) for image in images.values()) == len(world.tracks.frame)
    longest = np.sort(np.argsort(-world.tracks.length, kind="stable")[:5])
    write_colmap(tmp_path / "few", cameras, names, world.most_seen(5), colours[longest], text=text)
    few = readers.colmap(tmp_path / "few")[2]
    assert [few[k + 1][1] for k in range(5)] == [tuple(colours[j]) for j in longest] and len(few) == 5


@pytest.mark.parametrize("text", [False, True])
def test_pycolmap_reads_the_model_and_agrees_on_errors(tmp_path: Path, text: bool) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    cameras = some_cameras(shared=False)
    world = a_world(cameras)
    write_colmap(tmp_path / "0", cameras, [f"{t}.png" for t in range(FRAMES)], world, text=text)
    model = pycolmap.Reconstruction(str(tmp_path / "0"))
    assert model.num_reg_images() == FRAMES and model.num_points3D() == len(world)
    assert model.compute_num_observations() == len(world.tracks.frame)
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
    figures = export(result, Exports(png=False, movie=False, cloud=0), world, lambda *step: stages.append(step))
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
