"""What moves told from what stands still: by point, by pixel, and once more with depth."""

from __future__ import annotations

import numpy as np
import pytest

from trackime.errors import InputError, ShapeError
from trackime.geometry import Cameras
from trackime.types import RaggedTracks
from trackime.video import open_video
from trackime_apps.depth._reconstruction import Reconstruction
from trackime_apps.depth.movers import Movers, movers
from trackime_apps.depth.movers._epipolar import geometry, turning
from trackime_apps.depth.movers._groups import alike, share
from trackime_apps.depth.movers._region import region

W, H, FOCAL, FRAMES = 320, 240, 280.0, 20


def rotation(angles: np.ndarray) -> np.ndarray:
    """By angles about x and y."""
    a, b = angles
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    return y @ x


def cameras(kind: str, frames: int = FRAMES) -> Cameras:
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for t in range(frames):
        if kind in ("moves", "turns"):
            poses[t, :3, :3] = rotation(np.array([0.01 * np.sin(t / 3), 0.012 * t]))
        if kind == "moves":
            poses[t, :3, 3] = (0.06 * t, 0.02 * np.sin(t / 2), 0.02 * t)
        if kind == "sideways":
            poses[t, :3, 3] = (0.05 * t, 0, 0)
    return Cameras(poses, np.full(frames, FOCAL), W, H)


def tracks_of(
    view: Cameras, moving: int, velocity: tuple[float, float, float], noise: float = 0.2, seed: int = 0
) -> tuple[RaggedTracks, np.ndarray, np.ndarray]:
    """RaggedTracks of 300 random points of a room and `moving` of an object; which move, and their depths [K]."""
    rng = np.random.default_rng(seed)
    frames = len(view)
    z = rng.uniform(2, 7, 300)
    still = np.stack([rng.uniform(-0.7, 1.2, 300) * z, rng.uniform(-0.5, 0.5, 300) * z, z], 1)
    thing = rng.uniform((-0.05, -0.35, 2.65), (0.65, 0.35, 3.35), (moving, 3))
    points, frame, xy, depth = [], [], [], []
    for n in range(300 + moving):
        for t in range(frames):
            world = still[n] if n < 300 else thing[n - 300] + t * np.array(velocity)
            place, far = view.project(world[None], t)
            if far[0] > 0.3 and ((place >= 0) & (place <= (W, H))).all():
                points.append(n)
                frame.append(t)
                xy.append(place[0])
                depth.append(far[0])
    _, index = np.unique(points, return_inverse=True)
    first = np.concatenate(([0], np.cumsum(np.bincount(index))))
    noisy = np.array(xy) + rng.normal(0, noise, (len(xy), 2))
    tracks = RaggedTracks(
        frames, first, frame, noisy, np.full(len(frame), max(noise, 0.05)), np.full(len(first) - 1, -1)
    )
    return tracks, np.unique(points) >= 300, np.array(depth)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_nothing_moves_where_nothing_is_seen(frames: int) -> None:
    found = movers.find(RaggedTracks.none(frames), W, H)
    assert found.static.shape == (0,) and not found.mask(frames - 1).any() and found.mask(0).shape == (H, W)
    with pytest.raises(InputError, match="frame"):
        found.mask(frames)


def test_bad_input() -> None:
    tracks = RaggedTracks(2, [0, 2], [0, 1], [[1, 1], [2, 2]], [1, 1], [-1])
    with pytest.raises(ShapeError, match="static"):
        Movers(tracks, np.ones(3, bool), W, H)
    with pytest.raises(ShapeError, match="cameras"):
        movers._static_by_cameras(tracks, known_by(cameras("moves", 3)))
    assert movers.find(tracks, W, H).static.all()
    assert movers._static_by_cameras(tracks, known_by(cameras("moves", 2))).all()
    assert movers._static_by_cameras(RaggedTracks.none(2), known_by(cameras("moves", 2))).shape == (0,)
    assert geometry(np.zeros((3, 2)), np.zeros((3, 2)), W, H) is None


@pytest.mark.parametrize("kind", ["moves", "turns", "rests"])
def test_an_object_is_found_whatever_the_camera_does(kind: str) -> None:
    tracks, moving, _ = tracks_of(cameras(kind), 60, (0.0, 0.035, 0.02))
    static = movers.find(tracks, W, H).static
    assert (~static[moving]).mean() > 0.9
    assert (~static[~moving]).mean() < 0.02


@pytest.mark.parametrize("kind", ["moves", "turns", "rests", "sideways"])
@pytest.mark.parametrize("noise", [0.05, 0.6])
def test_a_scene_that_stands_still_raises_no_alarm(kind: str, noise: float) -> None:
    tracks, _, _ = tracks_of(cameras(kind), 0, (0, 0, 0), noise, seed=3)
    assert (~movers.find(tracks, W, H).static).mean() <= 0.005


def test_each_shot_is_told_by_its_own_camera() -> None:
    one, moving, _ = tracks_of(cameras("turns"), 40, (0.0, 0.035, 0.02))
    two, _, _ = tracks_of(cameras("moves"), 0, (0, 0, 0), seed=5)
    parts = [
        RaggedTracks(2 * FRAMES, part.first, part.frame + shift, part.xy, part.sigma, part.instance)
        for part, shift in ((one, 0), (two, FRAMES))
    ]
    static = movers.find(RaggedTracks.join(parts), W, H).static
    assert (~static[: len(one)][moving]).mean() > 0.9 and (~static[: len(one)][~moving]).mean() < 0.01
    assert (~static[len(one) :]).mean() <= 0.005


def test_an_object_that_is_known_is_called_one_thing() -> None:
    tracks, moving, _ = tracks_of(cameras("moves"), 60, (0.0, 0.035, 0.02))
    # Of the object and of one that stands still.
    instance = np.where(moving, 7, np.where(np.arange(len(tracks)) < 50, 3, -1))
    known = RaggedTracks(tracks.frames, tracks.first, tracks.frame, tracks.xy, tracks.sigma, instance)
    static = movers.find(known, W, H).static
    assert not static[moving].any() and static[:50].all()


def known_by(view: Cameras, known: np.ndarray | None = None, part: np.ndarray | None = None) -> Reconstruction:
    """Cameras alone; points and errors are not asked for."""
    frames = len(view)
    seen = np.ones(frames, bool) if known is None else known
    parts = np.zeros(frames, int) if part is None else part
    return Reconstruction(view, seen, np.zeros((0, 3)), np.zeros(0), np.zeros(0), 0.0, parts)


@pytest.mark.parametrize(("noise", "speed"), [(0.05, 0.004), (0.3, 0.006)])
def test_cameras_show_what_pairs_of_frames_do_not(noise: float, speed: float) -> None:
    """An object so slow that no pair of frames tells it from noise."""
    view = cameras("moves")
    tracks, moving, _ = tracks_of(view, 60, (0.0, speed, 0.0), noise)
    blind = movers.find(tracks, W, H)
    static = blind.with_cameras(known_by(view)).static
    assert (~blind.static[moving]).mean() < 0.1
    assert (~static[moving]).mean() > 0.9 and static[~moving].mean() > 0.97


@pytest.mark.parametrize("kind", ["moves", "sideways"])
@pytest.mark.parametrize("noise", [0.05, 1.0])
def test_cameras_raise_no_alarm_where_nothing_moves(kind: str, noise: float) -> None:
    view = cameras(kind)
    tracks, _, _ = tracks_of(view, 0, (0, 0, 0), noise)
    assert movers._static_by_cameras(tracks, known_by(view)).mean() > 0.995
    # Errors larger than expected everywhere are the cameras', not those of what moves.
    sure = RaggedTracks(tracks.frames, tracks.first, tracks.frame, tracks.xy, tracks.sigma / 3, tracks.instance)
    assert movers._static_by_cameras(sure, known_by(view)).mean() > 0.98


def test_cameras_that_are_not_known_say_nothing() -> None:
    view = cameras("moves")
    tracks, moving, _ = tracks_of(view, 60, (0.0, 0.035, 0.02))
    wrong = view.poses.copy()
    wrong[::2, :3, 3] += 1.0
    spoiled = Cameras(wrong, view.focal, W, H)
    static = movers._static_by_cameras(tracks, known_by(spoiled, known=np.arange(FRAMES) % 2 == 1))
    assert (~static[moving]).mean() > 0.9 and static[~moving].mean() > 0.98
    assert movers._static_by_cameras(tracks, known_by(spoiled, known=np.zeros(FRAMES, bool))).all()


def test_parts_of_a_video_are_worlds_of_their_own() -> None:
    view = cameras("moves")
    tracks, moving, _ = tracks_of(view, 60, (0.0, 0.035, 0.02))
    poses, part = view.poses.copy(), (np.arange(FRAMES) >= FRAMES // 2).astype(int)
    for t in np.flatnonzero(part):  # begins anew, in another scale
        poses[t] = np.linalg.inv(view.poses[FRAMES // 2]) @ view.poses[t]
        poses[t, :3, 3] *= 3
    static = movers._static_by_cameras(tracks, known_by(Cameras(poses, view.focal, W, H), part=part))
    assert (~static[moving]).mean() > 0.9 and static[~moving].mean() > 0.98


def test_turns_are_told_from_other_homographies() -> None:
    k = np.array([[FOCAL, 0, W / 2], [0, FOCAL, H / 2], [0, 0, 1]])
    turn = k @ rotation(np.array([0.05, -0.1])) @ np.linalg.inv(k)
    assert turning(3 * turn, W, H) < 1.0  # focal lengths are tried, not solved for
    assert turning(np.eye(3), W, H) < 1e-6
    plane = np.eye(3) + np.outer([0.3, 0.0, 0.1], [0.2, 0.5, 0.3])
    assert turning(k @ plane @ np.linalg.inv(k), W, H) > 5


def test_neighbours_that_move_alike_share_what_they_know() -> None:
    # Two rows of points side by side that part ways; one of each knows.
    x = np.arange(10) * 8.0
    start = np.concatenate([np.stack([x + 20, np.full(10, y)], 1) for y in (100.0, 106.0)])
    move = np.repeat([[3.0, 0], [-3.0, 0]], 10, axis=0)
    xy = np.stack([start + t * move for t in range(6)], 1).reshape(-1, 2)
    tracks = RaggedTracks(6, np.arange(0, 126, 6), np.tile(np.arange(6), 20), xy, np.ones(120), np.full(20, -1))
    together = alike(tracks, 8.0)
    assert together[:10, 10:].max() < 1e-3 < together[:10, :10].max() <= 1
    evidence = np.zeros((20, 2))
    evidence[0], evidence[10] = (1, 1), (0, 1)
    shared = share(evidence, together)
    assert shared[1, 0] > 0.1 and shared[11, 0] < 1e-3 and (shared[:, 1] > 0).sum() > 4


def test_a_region_follows_its_points_and_the_edges_of_the_picture() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((H, W), bool)
    truth[60:150, 100:220] = True
    picture = np.where(truth[..., None], (200, 60, 40), (40, 90, 160)).astype(np.uint8)
    xy = rng.uniform((0, 0), (W, H), (500, 2))
    moving = truth[xy[:, 1].astype(int), xy[:, 0].astype(int)]
    for image, least in ((None, 0.8), (picture, 0.97)):
        found = region(xy, moving, (H, W), image)
        assert (found & truth).sum() / (found | truth).sum() > least
    assert not region(xy, np.zeros(500, bool), (H, W), picture).any()
    assert region(xy[:1], np.ones(1, bool), (1, 1)).shape == (1, 1)


def test_masks_are_of_the_frame_asked_for() -> None:
    video = np.zeros((2, 60, 80, 3), np.uint8)
    y, x = (v.ravel() for v in np.mgrid[5:60:10, 5:80:10].astype(float))
    x, y = x[(x < 30) | (x > 70)], y[(x < 30) | (x > 70)]
    xy = np.repeat(np.stack([x, y], 1)[:, None], 2, 1)
    n = len(x)
    moving = x < 30
    xy[moving, 1, 0] += 40
    tracks = RaggedTracks(
        2, np.arange(0, 2 * n + 1, 2), np.tile([0, 1], n), xy.reshape(-1, 2), np.ones(2 * n), np.full(n, 0)
    )
    found = Movers(tracks, ~moving, 80, 60, open_video(video))
    assert found.mask(0)[30, 10] and not found.mask(0)[30, 70]
    assert found.mask(1)[30, 55] and not found.mask(1)[30, 2]


@pytest.mark.parametrize("spread", [(0, 0), (1, 0)])
def test_points_in_one_place_or_line_have_a_geometry_or_none_but_no_error(spread: tuple[int, int]) -> None:
    a = np.arange(40.0)[:, None] * np.array(spread, float) + 50
    found = geometry(a, a, W, H)
    assert found is not None and found.fundamental.shape == found.homography.shape == (40,)
    assert not np.isnan(found.fundamental).any() and not np.isnan(found.homography).any()


def test_a_wall_behind_the_scene_is_no_camera_that_turns() -> None:
    """Two thirds of the points lie on a plane, whose homography is all but that of a turn, the rest before it."""
    view = cameras("sideways", 8)
    rng = np.random.default_rng(0)
    wall = np.stack([rng.uniform(-3, 4, 200), rng.uniform(-2, 2, 200), np.full(200, 6.0)], 1)
    near = np.stack([rng.uniform(-0.8, 1.2, 110), rng.uniform(-0.8, 0.8, 110), rng.uniform(2, 4, 110)], 1)
    world = np.concatenate((wall, near))
    xy = np.stack([view.project(world, t)[0] for t in range(8)], 1) + rng.normal(0, 0.1, (310, 8, 2))
    first, frame = np.arange(0, 310 * 8 + 1, 8), np.tile(np.arange(8), 310)
    tracks = RaggedTracks(8, first, frame, xy.reshape(-1, 2), np.full(310 * 8, 0.1), np.full(310, -1))
    assert movers.find(tracks, W, H).static.mean() > 0.99
