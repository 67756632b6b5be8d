"""3D scenes: the same from the same seed; depth, cameras, tracks and visibility that slow references confirm."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, map_coordinates

from trackime.errors import InputError
from trackime.types import Queries
from trackime.worlds import PATHS, Scene, make_scene
from trackime.worlds.scene import _raycast as raycast
from trackime.worlds.scene import _truth as scene_truth
from trackime.worlds.scene._bodies import Body
from trackime.worlds.scene._cameras import about
from trackime.worlds.scene._pool import FacePool
from trackime.worlds.scene._solids import Box, HeightField, Sphere

CLEAN = {"noise": 0.0, "shadows": False}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    # Frames this small are slower with more threads, many times so where others use the processor.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A hand-held camera, everything there is."""
    return make_scene(4, 96, 72, 12, 6, 3, relief=3, speed=0.06)


@pytest.fixture(scope="module")
def clean() -> Scene:
    """An orbit, no noise, no shadows."""
    return make_scene(1, 128, 96, 9, path="orbit", relief=1, **CLEAN)


def centres(scene: Scene) -> np.ndarray:
    """Pixel centres [H * W, 2]."""
    y, x = np.mgrid[: scene.info.height, : scene.info.width] + 0.5
    return np.stack([x.ravel(), y.ravel()], 1)


def random_pixels(scene: Scene, n: int, seed: int = 0) -> np.ndarray:
    size = [scene.info.width, scene.info.height]
    return np.random.default_rng(seed).uniform(0, size, (n, 2))


# Slow references ----------------------------------------------------------------------------------------------


def slow_ray(shape: Box | Sphere | HeightField, origin: np.ndarray, ray: np.ndarray) -> float:
    """Least s > 0 at which one ray meets one shape, in the shape's coordinates; inf: never."""
    found = []
    if isinstance(shape, Box):
        for axis in range(3):
            for side in (-1, 1):
                if ray[axis] == 0:
                    continue
                s = (side * shape.half[axis] - origin[axis]) / ray[axis]
                point = origin + s * ray
                others = [k for k in range(3) if k != axis]
                if s > 0 and all(abs(point[k]) <= shape.half[k] for k in others):
                    found.append(s)
    elif isinstance(shape, Sphere):
        roots = np.roots([ray @ ray, 2 * origin @ ray, origin @ origin - shape.radius**2])
        found = [float(r.real) for r in roots if abs(r.imag) < 1e-12 and r.real > 0]
    else:
        s = np.linspace(0, 12 / np.linalg.norm(ray), 20001)
        points = origin + s[:, None] * ray
        above = -points[:, 1] - slow_height(shape, points[:, 0], points[:, 2])
        within = (np.abs(points[:, 0]) <= shape.half[0]) & (np.abs(points[:, 2]) <= shape.half[2])
        crossing = np.flatnonzero(within[:-1] & within[1:] & (above[:-1] > 0) & (above[1:] <= 0))
        if len(crossing):
            k = crossing[0]
            found.append(float(s[k] + (s[k + 1] - s[k]) * above[k] / (above[k] - above[k + 1])))
    return min(found, default=math.inf)


def slow_height(field: HeightField, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    waves = sum(a * np.sin(kx * x + kz * z + phase) for a, kx, kz, phase in field.waves)
    window = (1 - (x / field.half[0]) ** 2) ** 2 * (1 - (z / field.half[2]) ** 2) ** 2
    return window * (field.mean + waves) - field.sunk


def slow_depth(scene: Scene, xy: np.ndarray, t: int) -> tuple[float, int]:
    """Depth and body at one pixel, one shape after the other, through 4 x 4 matrices."""
    k = np.linalg.inv(scene.intrinsics)
    ray = scene.poses[t] @ np.array([*(k @ [xy[0], xy[1], 1.0]), 0.0])
    eye = scene.poses[t] @ np.array([0, 0, 0, 1.0])
    depths = []
    for body in scene.bodies:
        if not scene.starts[body.shot] <= t < scene.ends[body.shot]:
            depths.append(math.inf)
            continue
        to_world = np.eye(4)
        to_world[:3, :3], to_world[:3, 3] = body.rotation[t], body.place[t]
        back = np.linalg.inv(to_world)
        depths.append(slow_ray(body.shape, (back @ eye)[:3], (back @ ray)[:3]))  # type: ignore[arg-type]
    best = int(np.argmin(depths))
    return depths[best], best


def slow_project(scene: Scene, body: Body, point: np.ndarray, t: int) -> tuple[np.ndarray, float]:
    """Pixel and depth of one point of one body."""
    to_world = np.eye(4)
    to_world[:3, :3], to_world[:3, 3] = body.rotation[t], body.place[t]
    camera = np.linalg.inv(scene.poses[t]) @ to_world @ np.array([*point, 1.0])
    pixel = scene.intrinsics @ camera[:3]
    return pixel[:2] / pixel[2], float(camera[2])


# Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 7}, "width: expected a whole number of 8 or more, got 7"),
        ({"height": 2.5}, "height: expected a whole number"),
        ({"frames": 0}, "frames: expected a whole number of 1 or more, got 0"),
        ({"frames": 1, "cut": True}, "frames: expected a whole number of 2 or more"),
        ({"seed": -1}, "seed: expected a whole number of 0 or more"),
        ({"objects": -1}, "objects: expected a whole number of 0 or more, got -1"),
        ({"objects": 101}, "objects: expected at most 100, got 101"),
        ({"movers": True}, "movers: expected a whole number"),
        ({"movers": 101}, "movers: expected at most 100"),
        ({"zoom": 2}, "make_scene takes no option 'zoom': expected one of path, cut, fov"),
        ({"path": "fly"}, "unknown camera path 'fly': expected one of wander, orbit, dolly, static, rotation"),
        ({"fov": 180}, "fov: expected a number of 5 to 130, got 180"),
        ({"fov": math.nan}, "fov: expected a number"),
        ({"cut": 1}, "cut: expected True or False, got 1"),
        ({"relief": 4}, "relief: expected a whole number of 0 to 3, got 4"),
        ({"samples": 0}, "samples: expected a whole number of 1 to 16"),
        ({"light": 1.5}, "light: expected a number of 0 to 1"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_scene(**{"width": 16, "height": 16, "frames": 2, **arguments})


def test_bad_requests() -> None:
    scene = make_scene(0, 32, 24, 3, 1, 1, relief=0)
    for call in (
        lambda: scene.frame(3),
        lambda: scene.depth(-1),
        lambda: scene.mask(3),
        lambda: scene.dynamic(3),
        lambda: scene.surfaces(-1),
        lambda: scene.render(2, 1),
        lambda: scene.render(0, 4),
        lambda: scene.flow(0, 3),
        lambda: scene.sample(-1),
        lambda: scene.sample(1, t=3),
        lambda: scene.sample(1, ids=[2]),
        lambda: scene.sample(1, edge_share=2),
        lambda: scene.track(Queries([[40, 5, 0]])),
        lambda: scene.track(Queries([[4, 5, 3]])),
    ):
        with pytest.raises(InputError):
            call()


# Shapes and extremes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "frames", "objects", "movers", "options"),
    [
        (8, 8, 1, 0, 0, {"relief": 0}),
        (17, 31, 3, 2, 1, {"path": "dolly"}),
        (61, 9, 2, 0, 3, {"path": "rotation", "fov": 120}),
        (33, 25, 2, 9, 0, {"path": "orbit", "relief": 3, "fov": 20}),
        (16, 12, 2, 1, 1, {"cut": True, "samples": 1, "light": 0}),
    ],
)
def test_any_size(width: int, height: int, frames: int, objects: int, movers: int, options: dict) -> None:
    scene = make_scene(1, width, height, frames, objects, movers, **options)
    shots = 2 if options.get("cut") else 1
    assert scene.video.shape == (frames, height, width, 3) and scene.video.dtype == np.uint8
    assert scene.masks.shape == (frames, height, width) and scene.masks.dtype == np.uint8
    assert scene.masks.max(initial=0) <= movers * shots
    assert scene.depths.shape == (frames, height, width) and scene.depths.dtype == np.float32
    assert np.isfinite(scene.depths).all() and scene.depths.min() > 0.5 and scene.depths.max() < 12
    assert scene.poses.shape == (frames, 4, 4) and scene.poses.dtype == np.float64
    tracks = scene.sample(7)
    assert tracks.xy.shape == (7, frames, 2)
    assert set(np.unique(tracks.visibility)) <= {0.0, 1.0}
    assert len(scene.sample(0)) == 0 and len(scene.track(Queries(np.zeros((0, 3))))) == 0
    displacement, valid = scene.flow(0, frames - 1)
    assert displacement.shape == (height, width, 2) and displacement.dtype == np.float32
    assert valid.shape == (height, width) and valid.dtype == bool


def test_long_scenes_are_lazy() -> None:
    scene = make_scene(2, 24, 18, 2000, 1, 1, relief=0)
    late = scene.render(1990, 1992)
    assert "video" not in vars(scene)
    np.testing.assert_array_equal(late[1], scene.frame(1991))


def test_importing_loads_no_reader() -> None:
    code = "import sys, trackime.worlds; print([m for m in ('av', 'kornia', 'cv2', 'skimage') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


# The same from the same seed ----------------------------------------------------------------------------------


def test_seed_decides_everything() -> None:
    a, b, c = (make_scene(seed, 40, 32, 3, 3, relief=1) for seed in (9, 9, 10))
    before = torch.get_rng_state()
    np.testing.assert_array_equal(a.video[::-1], np.stack([b.frame(t) for t in (2, 1, 0)]))
    np.testing.assert_array_equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(a.depths, b.depths)
    np.testing.assert_array_equal(a.poses, b.poses)
    np.testing.assert_array_equal(a.sample(20, seed=1).xy, b.sample(20, seed=1).xy)
    assert (a.sample(20, seed=1).queries.xy != a.sample(20, seed=2).queries.xy).any()
    assert (a.video != c.video).mean() > 0.5


def test_chunks_change_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, depth, tracks = scene.frame(5), scene.depth(5), scene.sample(30, t=5)
    monkeypatch.setattr(raycast, "CHUNK", 5003)
    np.testing.assert_array_equal(scene.frame(5), frame)
    np.testing.assert_array_equal(scene.depth(5), depth)
    again = scene.sample(30, t=5)
    np.testing.assert_array_equal(again.xy, tracks.xy)
    np.testing.assert_array_equal(again.visibility, tracks.visibility)


# Rays ---------------------------------------------------------------------------------------------------------


def test_depth_and_bodies_are_those_of_a_slow_ray(scene: Scene) -> None:
    for t in (0, 7):
        xy = random_pixels(scene, 60, t)
        bodies, points = scene.lift(xy, np.full(len(xy), t))
        for k in range(len(xy)):
            depth, body = slow_depth(scene, xy[k], t)
            assert bodies[k] == body
            there, z = slow_project(scene, scene.bodies[body], points[k], t)
            assert z == pytest.approx(depth, rel=2e-6)
            np.testing.assert_allclose(there, xy[k], atol=1e-8)
    assert len(np.unique(scene.surfaces(0))) > 7


def test_maps_are_the_rays_at_pixel_centres(scene: Scene) -> None:
    t = 6
    xy = centres(scene)
    bodies, _ = scene.lift(xy, np.full(len(xy), t))
    shape = (scene.info.height, scene.info.width)
    np.testing.assert_array_equal(scene.surfaces(t), bodies.reshape(shape))
    np.testing.assert_array_equal(scene.mask(t), scene.instances[bodies].reshape(shape))
    np.testing.assert_array_equal(scene.dynamic(t), scene.mask(t) > 0)
    np.testing.assert_array_equal(scene.owner(xy, np.full(len(xy), t))[0], scene.instances[bodies])
    rows = np.random.default_rng(0).choice(len(xy), 60, replace=False)
    slow = [slow_depth(scene, xy[k], t)[0] for k in rows]
    np.testing.assert_allclose(scene.depth(t).ravel()[rows], slow, rtol=2e-6)
    assert sorted(scene.instances[scene.instances > 0]) == [1, 2, 3]


FIELD = HeightField((1.2, 0.5, 0.9), 0.25, ((0.13, 2.5, 1.0, 0.3), (0.08, -3.0, 3.5, 1.0), (0.04, 6.0, 5.0, 2.0)))


@example(469)  # leaves high above a side, beyond which the waves go on
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_height_fields_are_met_where_a_fine_march_meets_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    origin = np.array([rng.uniform(-3, 3), -rng.uniform(0.6, 2), rng.uniform(-4, 4)])
    # A third of them pass by, or leave through a side.
    target = np.array([rng.uniform(-1.8, 1.8), -rng.uniform(-0.02, 0.5), rng.uniform(-1.3, 1.3)])
    ray = (target - origin) * rng.uniform(0.3, 3)
    (got,) = FIELD.intersect(tuple(origin), torch.from_numpy(ray)[:, None]).tolist()
    slow = slow_ray(FIELD, origin, ray)
    if got != pytest.approx(slow, rel=1e-5):
        assert slow < got
        # Only a ray that dives less than the field's least step may be taken to miss.
        s = np.linspace(slow, slow + 3 * FIELD.step / np.linalg.norm(ray), 200)
        points = origin + s[:, None] * ray
        assert (-points[:, 1] - slow_height(FIELD, points[:, 0], points[:, 2])).max() > 0


def test_height_field_slope_and_bound() -> None:
    rng = np.random.default_rng(0)
    x, z = (torch.from_numpy(rng.uniform(-h, h, 20000)).requires_grad_() for h in (1.2, 0.9))
    height = FIELD.height(x, z)
    np.testing.assert_allclose(height.detach(), slow_height(FIELD, x.detach().numpy(), z.detach().numpy()), atol=1e-12)
    along, across = torch.autograd.grad(height.sum(), (x, z))
    height = height.detach()
    hx, hz = FIELD.slope(x.detach(), z.detach())
    np.testing.assert_allclose(hx, along, atol=1e-12)
    np.testing.assert_allclose(hz, across, atol=1e-12)
    steepest = float((hx * hx + hz * hz).max().sqrt())
    highest, bound = FIELD.bounds
    assert steepest <= bound < 1.3 * steepest
    assert float(height.max()) <= highest < min(FIELD.half[1], 1.1 * float(height.max()))


# Cameras ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_poses_are_rigid_and_start_at_the_origin(path: str) -> None:
    scene = make_scene(3, 32, 24, 20, 0, 0, path=path, relief=0)
    np.testing.assert_array_equal(scene.poses[0], np.eye(4))
    rotation = scene.poses[:, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (20, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
    np.testing.assert_array_equal(scene.poses[:, 3], np.tile([0, 0, 0, 1.0], (20, 1)))
    moved = np.linalg.norm(np.diff(scene.poses[:, :3, 3], axis=0), axis=1)
    assert (moved.max() < 1e-12) == (path in ("static", "rotation"))
    assert moved.max() < 0.25
    turned = np.abs(rotation - np.eye(3)).max()
    assert (turned == 0) == (path == "static")


def test_intrinsics_are_the_field_of_view() -> None:
    scene = make_scene(0, 50, 31, 1, 0, 0, fov=90, relief=0)
    np.testing.assert_allclose(scene.intrinsics, [[25, 0, 25], [0, 25, 15.5], [0, 0, 1]])
    left = scene.unproject(np.array([[0.0, 15.5]]), np.array([2.0]), 0)
    np.testing.assert_allclose(left, [[-2, 0, 2]], atol=1e-12)
    np.testing.assert_allclose(scene.project(left, 0)[0], [[0, 15.5]], atol=1e-12)


def test_strength_zero_holds_the_camera() -> None:
    for path in PATHS:
        poses = make_scene(3, 16, 12, 5, 0, 0, path=path, camera=0, relief=0).poses
        np.testing.assert_array_equal(poses, np.tile(np.eye(4), (5, 1, 1)))


def test_static_camera_and_nothing_moving() -> None:
    scene = make_scene(2, 64, 48, 6, 4, 1, path="static", speed=0.05, relief=1, **CLEAN)
    still = (scene.masks == 0).all(0)
    # Edges next to the moving object are means that it has a part in.
    still = ~binary_dilation(~still, np.ones((3, 3)))
    assert 0.3 < still.mean() < 1
    assert (scene.video[:, still] == scene.video[0, still]).all()
    flow, valid = scene.flow(0, 5)
    background = scene.masks[0] == 0
    assert np.abs(flow[background]).max() < 1e-6
    assert np.linalg.norm(flow[~background], axis=-1).min() > 0.1
    np.testing.assert_array_equal(valid[background], (scene.masks[5] == 0)[background])
    rigid = make_scene(2, 32, 24, 3, 4, 1, path="static", speed=0, turn=0, relief=0, **CLEAN)
    assert (rigid.video == rigid.video[0]).all() and rigid.masks.any()


def test_pure_rotation_is_a_homography() -> None:
    scene = make_scene(6, 96, 64, 10, 4, 0, path="rotation", relief=1)
    tracks = scene.sample(200, t=2)
    k = scene.intrinsics
    homogeneous = np.concatenate([tracks.queries.xy, np.ones((200, 1))], 1)
    for t in range(10):
        h = k @ scene.poses[t, :3, :3].T @ scene.poses[2, :3, :3] @ np.linalg.inv(k)
        moved = homogeneous @ h.T
        expected = moved[:, :2] / moved[:, 2:]
        np.testing.assert_allclose(tracks.xy[:, t], expected, atol=1e-3)
        # With no parallax nothing is ever covered: what is hidden has left the frame.
        within = (expected >= 0).all(1) & (expected < [96, 64]).all(1)
        assert (within == tracks.visible[:, t]).mean() > 0.99
    assert not tracks.visible.all()


# Depth, cameras, tracks agree ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["wander", "orbit", "dolly"])
def test_one_frame_reprojects_into_another(path: str) -> None:
    scene = make_scene(1, 96, 72, 10, 4, 0, path=path, relief=1, **CLEAN)
    a, b = 2, 6
    xy = centres(scene)
    world = scene.unproject(xy, scene.depth(a).ravel(), a)
    there, z = scene.project(world, b)
    flow, visible = scene.flow(a, b)
    np.testing.assert_allclose(there - xy, flow.reshape(-1, 2), atol=1e-3)
    seen = visible.ravel()
    assert seen.mean() > 0.6

    def read(image: np.ndarray) -> np.ndarray:
        return map_coordinates(
            image.astype(float), (there[seen, 1] - 0.5, there[seen, 0] - 0.5), order=1, mode="nearest"
        )

    # Interpolated across edges depth is of neither side: most pixels are on none.
    apart = np.abs(read(scene.depth(b)) - z[seen]) / z[seen]
    assert np.median(apart) < 1e-4 and (apart < 0.01).mean() > 0.9
    differ = np.stack([read(scene.frame(b)[..., c]) - scene.frame(a)[..., c].ravel()[seen] for c in range(3)])
    baseline = np.abs(scene.frame(b).astype(float) - scene.frame(a)).reshape(-1, 3)[seen].mean()
    assert np.abs(differ).mean() < 6 < 0.5 * baseline


def test_tracks_are_reprojections(scene: Scene) -> None:
    tracks = scene.sample(60, seed=3)
    bodies, points = scene.lift(tracks.queries.xy, tracks.queries.t)
    xy, depth, visible = scene.follow(bodies, points)
    for k in range(60):
        for t in range(len(scene)):
            there, z = slow_project(scene, scene.bodies[bodies[k]], points[k], t)
            assert depth[k, t] == pytest.approx(z, abs=1e-9)
            np.testing.assert_allclose(xy[k, t], there, atol=1e-6)
            np.testing.assert_allclose(tracks.xy[k, t], there, atol=1e-3)
    np.testing.assert_array_equal(visible, tracks.visible)
    np.testing.assert_array_equal(tracks.instance, scene.instances[bodies])
    rows = np.arange(60)
    np.testing.assert_array_equal(tracks.xy[rows, tracks.queries.t], tracks.queries.xy)
    assert tracks.visible[rows, tracks.queries.t].all()
    assert set(np.unique(tracks.instance)) >= {0, 1}


def test_visibility_is_that_of_slow_rays(scene: Scene) -> None:
    tracks = scene.sample(50, seed=5, edge_share=0.6, object_share=0.6)
    bodies, points = scene.lift(tracks.queries.xy, tracks.queries.t)
    seen = []
    for k in range(len(tracks)):
        for t in range(0, len(scene), 3):
            there, z = slow_project(scene, scene.bodies[bodies[k]], points[k], t)
            within = 0 <= there[0] < scene.info.width and 0 <= there[1] < scene.info.height
            free = within and slow_depth(scene, there, t)[0] >= z * (1 - scene_truth.TOLERANCE)
            seen.append((bool(tracks.visible[k, t]), bool(free), within))
    got, expected, within = np.array(seen).T
    assert (got == expected).mean() > 0.995
    # Both ways of being hidden occur.
    assert (~expected & within).sum() > 10 and (~within).sum() > 3


def test_visible_points_come_back(clean: Scene) -> None:
    flow, visible = clean.flow(3, 8)
    xy = centres(clean)
    there = (xy + flow.reshape(-1, 2))[visible.ravel()]
    bodies, points = clean.lift(there, np.full(len(there), 8))
    start, _ = clean.lift(xy, np.full(len(xy), 3))
    start = start[visible.ravel()]
    # float32 flow can slip over an edge.
    same = bodies == start
    assert same.mean() > 0.999
    back = scene_truth.follow(clean, bodies[same], points[same], np.array([3]))[0][:, 0]
    assert np.abs(back - xy[visible.ravel()][same]).max() < 0.05


def test_moving_objects_move(scene: Scene) -> None:
    for k in (1, 2, 3):
        index = int(np.flatnonzero(scene.instances == k)[0])
        body = scene.bodies[index]
        assert np.linalg.norm(np.diff(body.place, axis=0), axis=1).min() > 1e-4
        assert np.abs(np.diff(body.rotation, axis=0)).max(axis=(1, 2)).min() > 1e-5
        np.testing.assert_allclose(body.rotation @ body.rotation.transpose(0, 2, 1), [np.eye(3)] * 12, atol=1e-12)
    for body in scene.bodies:
        if body.instance == 0:
            assert (body.place == body.place[0]).all() and (body.rotation == body.rotation[0]).all()


def test_the_camera_keeps_its_distance() -> None:
    for seed in range(5):
        scene = make_scene(seed, 16, 12, 30, 4, 2, path=PATHS[seed], relief=1)
        eyes = scene.poses[:, :3, 3]
        for body in scene.bodies:
            if not body.room and not isinstance(body.shape, HeightField):
                away = np.linalg.norm(body.place - eyes, axis=1).min() - body.shape.radius
                assert away > 0.8
        depth = scene.depth(15)
        assert depth.min() > 0.8 and 3 < depth.max() < 10


def test_samples_are_where_they_should_be(scene: Scene) -> None:
    for k in (0, 1):
        tracks = scene.sample(20, ids=[k])
        assert (tracks.instance == k).all()
    movers = scene.sample(100, seed=1, object_share=1.0, edge_share=0.0, t=4)
    assert (movers.instance > 0).all() and (movers.queries.t == 4).all()
    row, column = np.floor(movers.queries.xy[:, ::-1]).astype(int).T
    assert (scene.mask(4)[row, column] == movers.instance).mean() > 0.95


# A cut --------------------------------------------------------------------------------------------------------


def test_a_cut_joins_two_scenes() -> None:
    scene = make_scene(5, 48, 36, 9, 3, 2, cut=True, relief=0)
    assert scene.starts == (0, 5) and scene.ends == (5, 9)
    assert [scene.shot_at(t) for t in range(9)] == [0] * 5 + [1] * 4
    np.testing.assert_array_equal(scene.poses[5], np.eye(4))
    assert scene.masks[:5].max(initial=0) <= 2
    assert set(np.unique(scene.masks[5:])) <= {0, 3, 4}
    jumps = np.abs(np.diff(scene.video.astype(int), axis=0)).mean((1, 2, 3))
    assert jumps[4] > 2 * np.delete(jumps, 4).max()
    tracks = scene.track(Queries([[20.5, 20.5, 0], [20.5, 20.5, 8]]))
    assert not tracks.visible[0, 5:].any() and not tracks.visible[1, :5].any()
    np.testing.assert_array_equal(tracks.xy[0, 5:], np.tile(tracks.xy[0, 4], (4, 1)))
    np.testing.assert_array_equal(tracks.xy[1, :5], np.tile(tracks.xy[1, 5], (5, 1)))
    assert not scene.flow(4, 5)[1].any() and scene.flow(3, 4)[1].any()
    alone = make_scene(5, 48, 36, 5, 3, 2, relief=0)
    assert len(alone.bodies) * 2 == len(scene.bodies)


# Pixels -------------------------------------------------------------------------------------------------------


def test_frames_are_means_of_many_rays() -> None:
    scene = make_scene(8, 48, 36, 3, 4, 2, noise=0.0)
    n = 8
    step = torch.stack(torch.meshgrid(*[(torch.arange(n) + 0.5) / n - 0.5] * 2, indexing="xy"), -1).view(-1, 2)
    xy = torch.from_numpy(centres(scene)).float()
    rays = torch.cat(
        [raycast.shade(scene, 1, part.view(-1, 2), 1 / n)[0] for part in (xy[:, None] + step).split(512)], 1
    )
    slow = rays.view(3, 36, 48, n * n).mean(-1).clamp(0, 1).permute(1, 2, 0).numpy() * 255

    def error(scene: Scene) -> float:
        return float(np.sqrt(np.mean((scene.frame(1) - slow) ** 2)))

    rough = make_scene(8, 48, 36, 3, 4, 2, noise=0.0, samples=1)
    assert error(scene) < 5 and error(scene) < 0.7 * error(rough)


def test_textures_do_not_shimmer() -> None:
    """A checkerboard far finer than the pixels is grey wherever the grid falls."""
    y, x = np.mgrid[:256, :256]
    board = np.tile(((x + y) % 2).astype(np.float32), (3, 1, 1))
    pool = FacePool.pack([np.zeros((3, 1, 1), np.float32), board], torch.device("cpu"))
    n = 100
    uv = torch.from_numpy(np.random.default_rng(0).uniform(0, 1, (2, n))).float()
    face, zero = torch.ones(n, dtype=torch.int64), torch.zeros(n)
    for across, along in ((8.0, 8.0), (3.0, 3.0), (4.0, 30.0)):
        dx, dy = torch.stack([zero + across / 256, zero]), torch.stack([zero, zero + along / 256])
        grey = pool.colour(face, uv, dx, dy)
        assert (grey - 0.5).abs().max() < 0.02
    sharp = pool.colour(face, (uv * 256).floor() / 256 + 0.5 / 256, dx * 0, dy * 0)
    np.testing.assert_array_equal(sharp.round(), sharp)
    assert 0.3 < sharp.mean() < 0.7
    assert (pool.colour(face * 0, uv, dx, dy) == 0).all()


def test_colours_come_from_options() -> None:
    frames = {
        name: make_scene(3, 48, 36, 1, 4, 1, relief=0, **options).frame(0).astype(int)
        for name, options in {
            "plain": CLEAN,
            "noisy": {**CLEAN, "noise": 0.05},
            "shadows": {"noise": 0.0},
            "flat": {**CLEAN, "light": 0},
        }.items()
    }
    spread = (frames["noisy"] - frames["plain"]).std()
    assert 0.7 < spread / (255 * 0.05) < 1.1
    darker = frames["plain"] - frames["shadows"]
    assert (darker < -1).mean() < 0.02 and (darker > 10).mean() > 0.02
    assert (frames["flat"] != frames["plain"]).mean() > 0.5


def test_rotations_are_rodrigues() -> None:
    (quarter,) = about(np.array([0, 1.0, 0]), np.array([math.pi / 2]))
    np.testing.assert_allclose(quarter @ [0, 0, 1], [1, 0, 0], atol=1e-12)  # to the right
    (up,) = about(np.array([1.0, 0, 0]), np.array([math.pi / 2]))
    np.testing.assert_allclose(up @ [0, 0, 1], [0, -1, 0], atol=1e-12)


@pytest.mark.gpu
def test_any_device_renders_the_same() -> None:
    here, there = (make_scene(4, 96, 64, 3, device=device) for device in ("cpu", "cuda"))
    assert (np.abs(here.frame(1).astype(int) - there.frame(1)) <= 1).mean() > 0.995
    np.testing.assert_allclose(here.depth(1), there.depth(1), rtol=1e-5)
    np.testing.assert_array_equal(here.sample(20).xy, there.sample(20).xy)
