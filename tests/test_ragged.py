"""RaggedTracks, cameras and depth maps: what the parts of consistent depth hand to one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.errors import FormatError, InputError, ShapeError
from trackime.geometry import Cameras
from trackime.types import Queries, RaggedTracks, Tracks, VideoInfo
from trackime.worlds import make_scene
from trackime_apps.depth.initial_depth import DepthMaps


def tracks_of(visible: np.ndarray, seed: int = 0) -> Tracks:
    """Tracks with the visibility given, bool [N, T], at random places."""
    n, frames = visible.shape
    xy = np.random.default_rng(seed).uniform(0, 10, (n, frames, 2))
    return Tracks(xy, visible.astype(float), Queries(np.zeros((n, 3)), np.arange(n)), VideoInfo.regular(10, 10, frames))


@given(st.integers(0, 1000), st.integers(0, 6), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_ragged_hold_what_the_raggedshow(seed: int, n: int, frames: int) -> None:
    rng = np.random.default_rng(seed)
    tracks = tracks_of(rng.random((n, frames)) < 0.5, seed)
    ragged = RaggedTracks.of(tracks)
    assert set(ragged.instance) == set(np.flatnonzero(tracks.visible.any(1)))
    seen = {(ragged.instance[p], f): xy for p, f, xy in zip(ragged.point, ragged.frame, ragged.xy, strict=True)}
    truth = {(i, f): tracks.xy[i, f] for i, f in zip(*np.nonzero(tracks.visible), strict=True)}
    assert seen.keys() == truth.keys() and all((seen[k] == truth[k]).all() for k in seen)
    i, j = rng.integers(0, frames, 2)
    points, a, b = ragged.between(i, j)
    assert set(ragged.instance[points]) == set(np.flatnonzero(tracks.visible[:, i] & tracks.visible[:, j]))
    assert (ragged.point[a] == points).all() and (ragged.frame[a] == i).all()
    assert (ragged.point[b] == points).all() and (ragged.frame[b] == j).all()
    assert (np.diff(points) > 0).all() and not len(ragged.rows(frames)) and not len(ragged.rows(-1))
    for t in range(frames):
        assert ragged.rows(t).tolist() == np.flatnonzero(ragged.frame == t).tolist()
    order = rng.permutation(len(ragged))[: len(ragged) // 2]
    part = ragged.take(order)
    assert (part.instance == ragged.instance[order]).all()
    for k, p in enumerate(order):
        one, other = slice(*part.first[k : k + 2]), slice(*ragged.first[p : p + 2])
        assert (part.frame[one] == ragged.frame[other]).all() and (part.xy[one] == ragged.xy[other]).all()
    rows = rng.random(len(ragged.frame)) < 0.5
    left = ragged.seen(rows)
    assert (left.xy == ragged.xy[rows]).all() and (
        left.instance[left.point] == ragged.instance[ragged.point][rows]
    ).all()
    if frames > 1:
        start, stop = sorted(rng.choice(frames + 1, 2, replace=False).tolist())
        short, which = ragged.window(start, stop)
        inside = (ragged.frame >= start) & (ragged.frame < stop)
        assert short.frames == stop - start and (short.frame + start == ragged.frame[inside]).all()
        assert (short.xy == ragged.xy[inside]).all() and (which[short.point] == ragged.point[inside]).all()
    both = RaggedTracks.join([ragged, part])
    assert len(both) == len(ragged) + len(part)
    again = both.take(np.arange(len(ragged), len(both)))
    assert (again.xy == part.xy).all() and (again.first == part.first).all()


def test_a_point_outside_the_frame_is_not_seen() -> None:
    tracks = Tracks(
        np.array([[[5.0, 5], [11, 5]]]), np.ones((1, 2)), Queries(np.zeros((1, 3))), VideoInfo.regular(10, 10, 2)
    )
    assert RaggedTracks.of(tracks).frame.tolist() == [0]


def test_ragged_that_cannot_be() -> None:
    good = {"frames": 3, "first": [0, 2], "frame": [0, 1], "xy": np.zeros((2, 2)), "sigma": [1, 1], "instance": [0]}
    RaggedTracks(**good)
    assert len(RaggedTracks.none(3)) == 0
    bad = ({"frame": [1, 1]}, {"frame": [0, 3]}, {"first": [0, 1]}, {"sigma": [1, 0]}, {"xy": np.full((2, 2), np.nan)})
    for change in bad:
        with pytest.raises(InputError):
            RaggedTracks(**(good | change))
    with pytest.raises(ShapeError):
        RaggedTracks(**(good | {"xy": np.zeros((2, 3))}))
    for window in ((0, 0), (-1, 2), (1, 4)):
        with pytest.raises(InputError):
            RaggedTracks(**good).window(*window)
    with pytest.raises(InputError):
        RaggedTracks.join([])
    with pytest.raises(InputError):
        RaggedTracks.join([RaggedTracks.none(3), RaggedTracks.none(4)])


def test_ragged_come_back(tmp_path: Path) -> None:
    ragged = RaggedTracks.of(tracks_of(np.random.default_rng(0).random((5, 6)) < 0.5))
    ragged.save(tmp_path / "ragged.npz")
    again = RaggedTracks.load(tmp_path / "ragged.npz")
    assert again.frames == ragged.frames
    for name in ("first", "frame", "xy", "sigma", "instance"):
        assert (getattr(again, name) == getattr(ragged, name)).all()
    np.savez(tmp_path / "other.npz", schema=np.array("trackime-tracks/1"), xy=np.zeros(2))
    for name in ("other.npz", "missing.npz"):
        with pytest.raises(FormatError):
            RaggedTracks.load(tmp_path / name)


@given(st.integers(0, 1000), st.integers(0, 6), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_dense_tracks_have_the_observations(seed: int, n: int, frames: int) -> None:
    tracks = tracks_of(np.random.default_rng(seed).random((n, frames)) < 0.5, seed)
    ragged = RaggedTracks.of(tracks)
    dense = ragged.to_dense(tracks.video)
    rows = tracks.visible.any(1)
    np.testing.assert_array_equal(dense.visible, tracks.visible[rows])
    np.testing.assert_array_equal(dense.xy[dense.visible], tracks.xy[tracks.visible])
    np.testing.assert_array_equal(dense.queries.t, tracks.visible[rows].argmax(1))
    again = RaggedTracks.of(dense)
    for name in ("first", "frame", "xy", "instance"):
        np.testing.assert_array_equal(getattr(again, name), getattr(ragged, name))


def test_dense_tracks_interpolate_hidden_frames() -> None:
    video = VideoInfo.regular(10, 10, 6)
    ragged = RaggedTracks(6, [0, 2, 3], [1, 3, 2], [[1, 2], [5, 4], [7, 7]], [1, 1, 1], [3, -1])
    dense = ragged.to_dense(video)
    assert dense.xy[0].tolist() == [[1, 2], [1, 2], [3, 3], [5, 4], [5, 4], [5, 4]]
    assert dense.xy[1].tolist() == [[7, 7]] * 6 and dense.instance.tolist() == [3, -1]
    assert dense.visibility.tolist() == [[0, 1, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0]]
    assert dense.queries.xyt.tolist() == [[1, 2, 1], [7, 7, 2]]
    assert len(RaggedTracks.none(6).to_dense(video)) == 0
    with pytest.raises(InputError, match="expected 6 frames as the tracks, got 5"):
        ragged.to_dense(VideoInfo.regular(10, 10, 5))


def test_cameras_are_those_of_a_scene() -> None:
    scene = make_scene(1, width=64, height=48, frames=3)
    cameras = Cameras(scene.poses, np.full(3, scene.intrinsics[0, 0]), 64, 48)
    assert np.allclose(cameras.intrinsics(1), scene.intrinsics)
    xy = np.random.default_rng(0).uniform(0, 48, (20, 2))
    points = cameras.lift(xy, np.linspace(1, 5, 20), 2)
    back, z = cameras.project(points, 2)
    assert np.allclose(back, xy) and np.allclose(z, np.linspace(1, 5, 20))
    behind, z = cameras.project(cameras.lift(xy, -np.ones(20), 0), 0)
    assert np.isnan(behind).all() and (z < 0).all()


def test_cameras_that_cannot_be() -> None:
    poses, focal = np.stack([np.eye(4)] * 2), np.ones(2)
    Cameras(poses, focal, 4, 3)
    with pytest.raises(ShapeError):
        Cameras(poses, np.ones(3), 4, 3)
    with pytest.raises(ShapeError):
        Cameras(poses[:, :3], focal, 4, 3)
    for p, f in (
        (poses * 2, focal),
        (poses * np.diag([-1, 1, 1, 1]), focal),
        (poses * np.nan, focal),
        (poses, focal * 0),
    ):
        with pytest.raises(InputError):
            Cameras(p, f, 4, 3)


def test_maps_come_back(tmp_path: Path) -> None:
    maps = DepthMaps(tmp_path / "depth", 2, disparity=True)
    depth = np.array([[1.0, 0, np.nan], [2, -1, np.inf]])
    assert 0 not in maps
    maps.write(0, depth, np.array([[True, True, True], [False, True, True]]))
    assert 0 in maps and 1 not in maps
    assert (maps.depth(0) == [[1, 0, 0], [2, 0, 0]]).all() and maps.depth(0).dtype == np.float32
    assert (maps.frame(0)[1] == [[True, False, False], [False, False, False]]).all()
    assert maps.frame(0)[2] is None
    maps.write(0, depth, moving=np.array([[True, False, False], [True, False, True]]))
    assert (maps.frame(0)[2] == [[True, False, False], [True, False, True]]).all()
    maps.write(1, depth)
    assert (maps.frame(1)[1] == (maps.depth(1) > 0)).all()
    with pytest.raises(InputError):
        maps.depth(2)
    with pytest.raises(ShapeError):
        maps.write(1, depth[0])
    (tmp_path / "depth" / "00001.npz").write_bytes(b"no zip")
    with pytest.raises(FormatError):
        maps.depth(1)
    (tmp_path / "depth" / "00001.npz").unlink()
    with pytest.raises(FormatError):
        maps.depth(1)
