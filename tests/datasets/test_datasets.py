"""trackime.datasets: bad input first, then what a good copy yields."""

from __future__ import annotations

import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest

import trackime.metrics as metrics
from trackime import datasets
from trackime.errors import FormatError, InputError, ShapeError, UnknownNameError
from trackime.types import Tracks
from trackime.video import masks as maskio


def write_image(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def frames_at(folder, count=4, size=(8, 10), first=0):
    for t in range(first, first + count):
        write_image(folder / f"{t:05d}.jpg", np.full((*size, 3), 40 + t, np.uint8))


def masks_at(folder, count=4, size=(8, 10), ids=1):
    folder.mkdir(parents=True, exist_ok=True)
    for t in range(count):
        mask = np.zeros(size, np.uint8)
        mask[2:5, 1 + t : 4 + t] = ids
        maskio.write_mask(folder / f"{t:05d}.png", mask)


def read(kind, path, **options):
    return list(datasets.read(kind, path, **options))


# ------------------------------------------------------------------------------------------- any kind


def test_unknown_kind():
    with pytest.raises(UnknownNameError, match="unknown data set 'kitti': expected one of badja, bonn, davis"):
        datasets.read("kitti", ".")


@pytest.mark.parametrize("kind", datasets.names())
def test_nothing_there(kind, tmp_path):
    with pytest.raises(FormatError, match="expected"):
        datasets.read(kind, tmp_path / "missing")
    with pytest.raises(FormatError, match="found none"):
        datasets.read(kind, tmp_path)


@pytest.mark.parametrize("kind", sorted(set(datasets.names()) - {"tapvid"}))
def test_a_file_is_not_a_folder(kind, tmp_path):
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(FormatError, match="found a file"):
        datasets.read(kind, tmp_path / "x")


def test_sample_refuses_cells_of_other_tracks():
    with pytest.raises(ShapeError, match="known"):
        datasets.Sample("x", ".", known=np.ones((2, 3), bool))


def test_importing_is_cheap():
    code = "import sys, trackime.datasets, trackime.metrics; print({'torch', 'cv2', 'PIL'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ------------------------------------------------------------------------------------------- TAP-Vid


def example(frames=7, size=(6, 8), n=3, seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.random((n, frames)) < 0.3
    hidden[:, 0] = [True] + [False] * (n - 1)
    return {
        "video": rng.integers(0, 256, (frames, *size, 3), np.uint8),
        "points": rng.random((n, frames, 2)).astype(np.float32),
        "occluded": hidden,
    }


def save(path, data, protocol=4):
    path.write_bytes(pickle.dumps(data, protocol))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video": None}, "expected video uint8"),
        ({"video": np.zeros((7, 6, 8), np.uint8)}, "expected video uint8"),
        ({"video": np.zeros((7, 6, 8, 3), np.float32)}, "got float32"),
        ({"video": np.zeros((0, 6, 8, 3), np.uint8)}, "with frames"),
        ({"video": [b"junk"] * 7}, "JPEG or PNG bytes"),
        ({"video": []}, "one frame or more"),
        ({"points": np.zeros((3, 6, 2))}, r"points \[N, 7, 2\]"),
        ({"points": [["x"]]}, "as numbers"),
        ({"occluded": np.zeros((2, 7), bool)}, r"occluded \[N, 7\]"),
        ({"points": np.full((3, 7, 2), np.nan)}, "finite points"),
    ],
)
def test_tapvid_refuses_broken_examples(change, message, tmp_path):
    path = save(tmp_path / "a.pkl", {"clip": {**example(), **change}})
    with pytest.raises(FormatError, match=message):
        read("tapvid", path)


def test_tapvid_refuses_other_pickles(tmp_path):
    with pytest.raises(FormatError, match="dict of video, points and occluded"):
        read("tapvid", save(tmp_path / "a.pkl", {"clip": {"video": 1}}))
    with pytest.raises(FormatError, match="dict or list"):
        read("tapvid", save(tmp_path / "a.pkl", 3))
    with pytest.raises(InputError, match="mode"):
        read("tapvid", tmp_path / "a.pkl", mode="last")


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_tapvid_as_davis_has_it(mode, tmp_path):
    data = example()
    (sample,) = read("tapvid", save(tmp_path / "davis.pkl", {"goat": data}), mode=mode)
    assert sample.name == "goat"
    np.testing.assert_array_equal(sample.video, data["video"])
    tracks, rows = sample.tracks, sample.labels["track"]
    assert (tracks.video.width, tracks.video.height, tracks.video.frames) == (8, 6, 7)
    np.testing.assert_allclose(tracks.xy, data["points"][rows] * (8, 6), rtol=1e-6)
    np.testing.assert_array_equal(tracks.visible, ~data["occluded"][rows])
    assert (tracks.queries.t % 5 == 0).all() if mode == "strided" else len(set(rows)) == len(rows)
    assert all(v == 1 for v in metrics.evaluate(tracks, tracks, mode).values())


def test_tapvid_as_kinetics_has_it(tmp_path):
    data = example(size=(16, 16))
    encoded = [cv2.imencode(".png", f[..., ::-1])[1].tobytes() for f in data["video"]]
    objects = np.empty(7, object)
    objects[:] = encoded
    for k, video in enumerate((encoded, objects, data["video"])):
        save(tmp_path / f"{k:04d}_of_0003.pkl", [{**data, "video": video}])
    samples = read("tapvid", tmp_path)
    assert [s.name for s in samples] == [f"{k:04d}_of_0003-00000" for k in range(3)]
    for sample in samples:
        np.testing.assert_array_equal(sample.video, data["video"])
    mixed = [*encoded[:-1], cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()]
    with pytest.raises(FormatError, match="all of one size"):
        read("tapvid", save(tmp_path / "m.pkl", [{**data, "video": mixed}]))


def test_tapvid_hidden_points_may_hold_anything(tmp_path):
    data = example()
    data["points"][data["occluded"]] = np.nan
    data["points"][1, 0] = [1.0004, -0.0004]  # a visible click a hair outside
    (sample,) = read("tapvid", save(tmp_path / "a.pkl", {"x": data}))
    sample.tracks.queries.check(sample.tracks.video)


# ------------------------------------------------------------------------------------------- DAVIS


def official(root, sequences=("bear", "car"), ids=1):
    for name in sequences:
        frames_at(root / "JPEGImages" / "480p" / name)
        masks_at(root / "Annotations" / "480p" / name, ids=ids)


def test_davis_plain_layout(tmp_path):
    for name in ("b", "a"):
        frames_at(tmp_path / name / "frames")
        masks_at(tmp_path / name / "masks", ids=3)
    samples = read("davis", tmp_path)
    assert [s.name for s in samples] == ["a", "b"] and samples[0].tracks is None
    masks = samples[0].masks
    assert len(masks) == 4 and masks[-1].max() == 3 and len(masks[1:3]) == 2
    assert masks.annotated == (0, 1, 2, 3) and masks.areas().tolist() == [9] * 4
    assert samples[0].video == tmp_path / "a" / "frames"
    assert [s.name for s in read("davis", tmp_path / "a")] == ["a"]
    assert [s.name for s in read("davis", tmp_path, names=["b"])] == ["b"]
    with pytest.raises(InputError, match="plain layout"):
        read("davis", tmp_path, split="val")
    with pytest.raises(FormatError, match="no sequence 'c'"):
        read("davis", tmp_path, names=["c"])
    with pytest.raises(InputError, match="plain folder name"):
        read("davis", tmp_path, names=["../a"])


def test_davis_official_layout_and_splits(tmp_path):
    official(tmp_path)
    assert [s.name for s in read("davis", tmp_path)] == ["bear", "car"]
    lists = tmp_path / "ImageSets"
    (lists / "480p").mkdir(parents=True)
    lines = [f"/JPEGImages/480p/car/{t:05d}.jpg /Annotations/480p/car/{t:05d}.png" for t in range(4)]
    (lists / "480p" / "val.txt").write_text("\n".join(lines))
    assert [s.name for s in read("davis", tmp_path, split="val")] == ["car"]
    (lists / "2017").mkdir()
    (lists / "2017" / "val.txt").write_text("bear\n\n")
    assert [s.name for s in read("davis", tmp_path, split="val")] == ["bear"]
    assert [s.name for s in read("davis", tmp_path, split="val", year=2016)] == ["car"]
    with pytest.raises(FormatError, match="the split 'test'"):
        read("davis", tmp_path, split="test")
    (lists / "2017" / "val.txt").write_text("..\n")
    with pytest.raises(InputError, match="plain folder name"):
        read("davis", tmp_path, split="val")
    with pytest.raises(FormatError, match="found none"):
        read("davis", tmp_path, resolution="1080p")


def test_davis_test_set_has_one_mask(tmp_path):
    official(tmp_path, ["bear", "car"])
    for t in (1, 2, 3):
        (tmp_path / "Annotations" / "480p" / "bear" / f"{t:05d}.png").unlink()
    (tmp_path / "Annotations" / "480p" / "car" / "00002.png").unlink()
    (bear,) = read("davis", tmp_path, names=["bear"])
    assert bear.masks.annotated == (0,) and np.isnan(bear.masks.areas()[1:]).all()
    with pytest.raises(InputError, match="frame 2 has no mask"):
        bear.masks[2]
    with pytest.raises(FormatError, match="expected 4 masks, got 3; frame '00002' has none"):
        read("davis", tmp_path, names=["car"])


def test_davis_refuses_counts_and_sizes_that_do_not_match(tmp_path):
    frames_at(tmp_path / "a" / "frames")
    with pytest.raises(FormatError, match="no such folder"):
        read("davis", tmp_path)
    masks_at(tmp_path / "a" / "masks", 5)
    with pytest.raises(FormatError, match="got '00004', too"):
        read("davis", tmp_path)
    (tmp_path / "a" / "masks" / "00004.png").unlink()
    maskio.write_mask(tmp_path / "a" / "masks" / "00001.png", np.ones((4, 4), np.uint8))
    (sample,) = read("davis", tmp_path)
    with pytest.raises(FormatError, match="size 10x8, got 4x4"):
        sample.masks[1]
    (tmp_path / "a" / "frames" / "00000.jpg").write_bytes(b"")
    with pytest.raises(FormatError, match="expected an image"):
        read("davis", tmp_path)


# ------------------------------------------------------------------------------------------- BADJA


def badja(folder, **change):
    frames_at(folder / "frames", 6)
    masks_at(folder / "masks", 6)
    arrays = {
        "tracks_xy": np.array([[[1, 2], [5, 5], [0, 0]], [[3, 2], [6, 5], [0, 0]], [[3, 4], [7, 5], [0, 0]]], float),
        "visible": np.array([[0, 1, 0], [1, 0, 0], [1, 1, 0]], bool),
        "frame_index": np.array([0, 2, 4]),
        "joint_names": np.array(["nose", "tail", "ear"]),
    }
    arrays.update(change)
    np.savez(folder / "labels.npz", **arrays)


def test_badja(tmp_path):
    badja(tmp_path / "dog")
    (sample,) = read("badja", tmp_path)
    tracks = sample.tracks
    assert sample.name == "dog" and sample.labels["joint_names"] == ("nose", "tail")  # the ear is never seen
    assert tracks.queries.xyt.tolist() == [[3.5, 2.5, 2], [5.5, 5.5, 0]]  # centres at half-integers
    assert tracks.xy[0, 4].tolist() == [3.5, 4.5] and tracks.xy[1, 2].tolist() == [6.5, 5.5]
    assert np.flatnonzero(tracks.visible[1]).tolist() == [0, 4]
    assert np.flatnonzero(sample.known.all(0)).tolist() == [0, 2, 4] == sample.labels["frame_index"].tolist()
    still = Tracks(np.repeat(tracks.queries.xy[:, None], 6, 1), tracks.visibility, tracks.queries, tracks.video)
    # Area 9: within 0.6 px. Both joints moved by 2 px.
    assert metrics.pck_t(still, tracks, sample.masks.areas(), sample.known) == 0
    assert metrics.pck_t(tracks, tracks, sample.masks.areas(), sample.known) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_index": np.array([0, 2, 6])}, r"labels of frames 0 \.\. 5, got 0 \.\. 6"),
        ({"frame_index": np.array([0, 2, 2])}, "increasing"),
        ({"visible": np.ones((2, 3), bool)}, "visible: expected"),
        ({"tracks_xy": np.full((3, 3, 2), np.nan)}, "finite"),
        ({"joint_names": np.array(["nose"])}, "tracks_xy: expected"),
        ({"joint_names": np.array([{}, {}, {}])}, "expected an npz of arrays"),  # pickled: never read
    ],
)
def test_badja_refuses_labels_that_do_not_agree(change, message, tmp_path):
    badja(tmp_path / "dog", **change)
    with pytest.raises(FormatError, match=message):
        read("badja", tmp_path)


# ------------------------------------------------------------------------------------------- PointOdyssey


def point_odyssey(folder, frames=5, **change):
    frames_at(folder / "rgbs", frames)
    xy = np.full((5, 4, 2), 4, np.float32)
    xy[:, 1, 0] = [4, 6, 8, 10, 12]  # leaves the frame after frame 3 while called visible
    xy[2, 2] = np.inf
    arrays = {"trajs_2d": xy, "visibs": np.ones((5, 4), bool), "valids": np.ones((5, 4), bool)}
    arrays["visibs"][:2, 2] = False
    arrays["visibs"][:, 3] = False
    arrays.update(change)
    np.savez(folder / "anno.npz", **{k: v for k, v in arrays.items() if v is not None})


def test_pointodyssey(tmp_path):
    point_odyssey(tmp_path / "ani")
    (sample,) = read("pointodyssey", tmp_path, points=None)
    tracks = sample.tracks
    assert tracks.queries.xyt.tolist() == [[4, 4, 0], [4, 4, 0], [4, 4, 3]]  # the last is never visible
    assert tracks.visible[1].tolist() == [True, True, True, True, False] and tracks.xy[1, 4, 0] == 12
    assert sample.known.tolist() == [[True] * 5, [True] * 5, [True, True, False, True, True]]
    (few,) = read("pointodyssey", tmp_path, points=2)
    (again,) = read("pointodyssey", tmp_path / "ani", points=2)
    assert len(few.tracks) == 2 and np.array_equal(few.tracks.xy, again.tracks.xy)
    point_odyssey(tmp_path / "ani", valids=None)
    assert len(read("pointodyssey", tmp_path)[0].tracks) == 3


def test_pointodyssey_refuses(tmp_path):
    with pytest.raises(InputError, match="points"):
        read("pointodyssey", tmp_path, points=0)
    point_odyssey(tmp_path / "ani", frames=4)
    with pytest.raises(FormatError, match=r"trajs_2d: expected \[4, N, 2\]"):
        read("pointodyssey", tmp_path)
    point_odyssey(tmp_path / "ani", visibs=np.ones((5, 3), bool))
    with pytest.raises(FormatError, match="visibs"):
        read("pointodyssey", tmp_path)
    point_odyssey(tmp_path / "ani", visibs=None)
    with pytest.raises(FormatError, match="missing visibs"):
        read("pointodyssey", tmp_path)
    (tmp_path / "ani" / "anno.npz").write_bytes(b"PK")
    with pytest.raises(FormatError, match="expected an npz"):
        read("pointodyssey", tmp_path)


# ------------------------------------------------------------------------------------------- RGB-D

FOCAL, SIZE = 60.0, (48, 64)


def rgbd(folder, frames=6, near=True):
    """A wall 2 m away, a camera moving right by 4 cm a frame; a board 1 m away before the right half of the wall."""
    h, w = SIZE
    frames_at(folder / "color", frames, SIZE)
    lines = []
    for t in range(frames):
        depth = np.full(SIZE, 2000, np.uint16)
        edge = 0.2 - 0.04 * t  # the board's left edge in the camera, metres
        if near:
            depth[:, max(0, round(FOCAL * edge / 1.0 + w / 2)) :] = 1000
        depth[:, :2] = 0
        write_image(folder / "depth" / f"{t:05d}.png", depth)
        pose = np.eye(4)
        pose[0, 3] = 0.04 * t
        lines.append(" ".join(f"{v:.9f}" for v in pose.ravel()))
    (folder / "poses_c2w.txt").write_text("\n".join(lines) + "\n")
    k = [[FOCAL, 0, w / 2 - 0.5], [0, FOCAL, h / 2 - 0.5], [0, 0, 1]]
    (folder / "K.txt").write_text("\n".join(" ".join(map(str, row)) for row in k))


def test_rgbd_tracks_follow_depth_and_pose(tmp_path):
    rgbd(tmp_path / "wall")
    (sample,) = read("rgbd", tmp_path, points=200, gap=None, query_frames=[0])
    tracks, known = sample.tracks, sample.known
    assert len(tracks) == 200 and sample.labels["scan"].intrinsics[0, 0, 2] == 32
    near = tracks.queries.xy[:, 0] > 44  # the board begins at x = 44 in frame 0
    step = np.where(near, FOCAL * 0.04 / 1, FOCAL * 0.04 / 2)[:, None] * np.arange(6)
    expected = tracks.queries.xy[:, 0, None] - step
    np.testing.assert_allclose(tracks.xy[..., 0], expected, atol=1e-4)
    np.testing.assert_allclose(tracks.xy[..., 1], np.broadcast_to(tracks.queries.xy[:, 1, None], (200, 6)), atol=1e-4)
    # In frame t the board begins at 44 - 2.4 t: wall points beyond are hidden, those near the edge unknown.
    edge = np.round(44 - 2.4 * np.arange(6))
    behind = ~near[:, None] & (expected > edge + 1) & (np.arange(6) > 0)
    before = ~near[:, None] & (expected < edge - 1) & (expected > 4)
    assert behind.any() and known[behind].all() and not tracks.visible[behind].any()
    assert known[before].all() and tracks.visible[before].all()
    assert tracks.visible[near & (expected > 3).all(1)][:, 0].all()
    on_edge = ~near[:, None] & (np.abs(expected - edge) < 0.4)
    assert on_edge.any() and not known[on_edge].any()
    assert not known[(expected > 0.5) & (expected < 1.5)].any()  # no depth there


def test_rgbd_leaving_the_frame_is_known_and_not_visible(tmp_path):
    rgbd(tmp_path, near=False)
    (sample,) = read("rgbd", tmp_path, points=2000, query_frames=[0], gap=None)
    left = sample.tracks.xy[..., 0] < 0
    assert left.any() and not sample.tracks.visible[left].any() and sample.known[left].all()
    (other,) = read("rgbd", tmp_path, points=5, gap=2)
    assert sorted(set(other.tracks.queries.t)) == [0, 2, 4]
    far = np.abs(np.arange(6) - other.tracks.queries.t[:, None]) > 2
    assert not other.known[far].any() and other.known[~far].any()


def test_rgbd_refuses(tmp_path):
    rgbd(tmp_path, near=False)
    with pytest.raises(InputError, match="points, gap, tolerance"):
        read("rgbd", tmp_path, points=0)
    with pytest.raises(InputError, match=r"query_frames: expected 0 \.\. 5"):
        read("rgbd", tmp_path, query_frames=[6])
    write_image(tmp_path / "depth" / "00003.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(FormatError, match="expected 16-bit depth"):
        read("rgbd", tmp_path)
    (tmp_path / "depth" / "00003.png").unlink()
    with pytest.raises(FormatError, match="expected 6 maps named as the frames, got 5"):
        read("rgbd", tmp_path)
    (tmp_path / "K.txt").write_text("1 0 0\n0 1 0\n")
    with pytest.raises(FormatError, match=r"K.txt: expected 3 lines of 3 finite numbers"):
        read("rgbd", tmp_path)
    (tmp_path / "poses_c2w.txt").write_text("1 0 x\n")
    with pytest.raises(FormatError, match="expected 6 lines of 16 numbers"):
        read("rgbd", tmp_path)


def test_rgbd_refuses_poses_that_are_not(tmp_path):
    rgbd(tmp_path, near=False)
    (tmp_path / "poses_c2w.txt").write_text("\n".join([" ".join(["2"] * 16)] * 6))
    with pytest.raises(FormatError, match="expected rotations"):
        read("rgbd", tmp_path)
