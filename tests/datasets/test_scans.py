"""Data sets with true depth and cameras: bad input first, then what a small made-up copy yields."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from trackime import datasets
from trackime.datasets import Scan, bonn, sintel, tum
from trackime.datasets.scan import png_depth
from trackime.errors import FormatError, UnknownNameError
from trackime.video import open_video

SIZE = (12, 16)
START = 1305031102.17


def write_image(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def poses(frames=4, seed=0):
    rng = np.random.default_rng(seed)
    out = np.tile(np.eye(4), (frames, 1, 1))
    out[:, :3, :3] = Rotation.from_rotvec(0.3 * rng.normal(size=(frames, 3))).as_matrix()
    out[:, :3, 3] = rng.normal(size=(frames, 3))
    return out


def tum_at(folder, true, lines=None, late=0.008, depth_late=0.012, names="{:.6f}.png"):
    """Colour at 30 Hz, depth and poses later by a little."""
    for t in range(len(true)):
        now = START + t / 30
        write_image(folder / "rgb" / names.format(now), np.full((*SIZE, 3), 10 * t, np.uint8))
        write_image(folder / "depth" / names.format(now + depth_late), np.full(SIZE, 5000 + 500 * t, np.uint16))
    if lines is None:
        quaternions = Rotation.from_matrix(true[:, :3, :3]).as_quat()
        lines = ["# time tx ty tz qx qy qz qw"]
        for t, (pose, q) in enumerate(zip(true, quaternions, strict=True)):
            row = " ".join(f"{v:.9f}" for v in (*pose[:3, 3], *q))
            lines.append(f"{START + t / 30 + late:.6f} {row}")
    (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n")


def sintel_at(root, true, name="alley_1", render="final"):
    for t, pose in enumerate(true):
        stem = f"frame_{t + 1:04d}"
        write_image(root / "training" / render / name / f"{stem}.png", np.full((*SIZE, 3), 9 * t, np.uint8))
        folder = root / "training" / "depth" / name
        folder.mkdir(parents=True, exist_ok=True)
        depth = (1 + t + np.arange(SIZE[0] * SIZE[1], dtype="<f4") / 100).tobytes()
        tag = np.array(sintel._TAG, "<f4").tobytes()
        (folder / f"{stem}.dpt").write_bytes(tag + np.array([SIZE[1], SIZE[0]], "<i4").tobytes() + depth)
        folder = root / "training" / "camdata_left" / name
        folder.mkdir(parents=True, exist_ok=True)
        k = np.array([[20.0 + t, 0, 7.5], [0, 20 + t, 5.5], [0, 0, 1]])
        outside = np.linalg.inv(pose)[:3]
        (folder / f"{stem}.cam").write_bytes(tag + k.astype("<f8").tobytes() + outside.astype("<f8").tobytes())


# ---- bad input


def test_unknown_kind():
    with pytest.raises(UnknownNameError, match="unknown data set with depth 'davis': expected one of bonn, rgbd"):
        datasets.scans("davis", ".")


@pytest.mark.parametrize("kind", datasets.SCANS)
def test_nothing_there(kind, tmp_path):
    with pytest.raises(FormatError, match="found nothing"):
        datasets.scans(kind, tmp_path / "missing")
    with pytest.raises(FormatError, match="found none"):
        datasets.scans(kind, tmp_path)


@pytest.mark.parametrize("kind", ["tum", "bonn"])
def test_tum_refuses(kind, tmp_path):
    folder = tmp_path / "rgbd_freiburg1_bonn"
    folder.mkdir()
    (folder / "groundtruth.txt").write_text("0 0 0 0 0 0 0 1\n")

    def first():
        return next(datasets.scans(kind, folder))

    with pytest.raises(FormatError, match="rgb: no such folder of frames"):
        first()
    write_image(folder / "rgb" / "00001.5.png", np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(FormatError, match="depth: no such folder"):
        first()
    write_image(folder / "depth" / "first.png", np.zeros(SIZE, np.uint16))
    with pytest.raises(FormatError, match=r"first.png: expected a name that is a time in seconds"):
        first()
    (folder / "depth" / "first.png").rename(folder / "depth" / "1.5.png")
    for text in ("0 0 0 0 0 0 1\n", "0 0 0 0 0 0 0 x\n", "nan 0 0 0 0 0 0 1\n", ""):
        (folder / "groundtruth.txt").write_text(text)
        with pytest.raises(FormatError, match=r"groundtruth.txt: expected lines of 8"):
            first()
    (folder / "groundtruth.txt").write_text("1.5 0 0 0 0 0 0 2\n")
    with pytest.raises(FormatError, match="expected unit quaternions"):
        first()
    (folder / "groundtruth.txt").write_text("1.5 0 0 0 0 0 0 1\n")
    assert len(first()) == 1 and first().depth(0).max() == 0
    # Natural order puts 1.9 before 1.88, as whole numbers behind the point.
    write_image(folder / "rgb" / "00001.88.png", np.zeros((*SIZE, 3), np.uint8))
    write_image(folder / "rgb" / "00001.9.png", np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(FormatError, match="names in the order of their times"):
        first()


def test_tum_must_know_the_camera(tmp_path):
    tum_at(tmp_path / "desk", poses())
    with pytest.raises(FormatError, match=r"expected a name with freiburg1, freiburg2, freiburg3, or a K.txt"):
        next(datasets.scans("tum", tmp_path))
    (tmp_path / "desk" / "K.txt").write_text("30 0 7.5\n0 31 5.5\n0 0 1\n")
    (scan,) = datasets.scans("tum", tmp_path)
    assert scan.intrinsics[0].tolist() == [[30, 0, 8], [0, 31, 6], [0, 0, 1]]


def test_depth_that_is_none(tmp_path):
    write_image(tmp_path / "a.png", np.zeros(SIZE, np.uint8))
    for path in (tmp_path / "a.png", tmp_path / "gone.png"):
        with pytest.raises(FormatError, match="expected 16-bit depth"):
            png_depth(1000)(path)
    write_image(tmp_path / "b.png", np.zeros((3, 4), np.uint16))
    one = np.eye(4)[None]
    scan = Scan("x", tmp_path, (tmp_path / "b.png",), png_depth(1000), one, one[:, :3, :3], SIZE)
    with pytest.raises(FormatError, match=r"expected depth \[12, 16\] as the frames, got \[3, 4\]"):
        scan.depth(0)


def test_sintel_refuses(tmp_path):
    sintel_at(tmp_path, poses())
    with pytest.raises(UnknownNameError, match="unknown render 'dirty': expected one of final, clean"):
        datasets.scans("sintel", tmp_path, render="dirty")
    with pytest.raises(FormatError, match="folders in 'clean'"):
        datasets.scans("sintel", tmp_path, render="clean")
    (scan,) = datasets.scans("sintel", tmp_path)
    for change, said in (
        (lambda data: data[:-1], "expected 16x12 depths, got"),
        (lambda data: data[:6], "expected 0x0 depths"),
        (lambda data: b"HEIP" + data[4:], r"expected a Sintel file beginning with 202021.25"),
        (lambda data: b"", "expected a Sintel file"),
    ):
        whole = scan.depths[1].read_bytes()
        scan.depths[1].write_bytes(change(whole))
        with pytest.raises(FormatError, match=said):
            scan.depth(1)
        scan.depths[1].write_bytes(whole)
    camera = tmp_path / "training" / "camdata_left" / "alley_1" / "frame_0002.cam"
    whole = camera.read_bytes()
    negative = np.frombuffer(whole[4:], "<f8").copy()
    negative[0] = -1
    twice = np.frombuffer(whole[4:], "<f8").copy()
    twice[9:] *= 2
    for data, said in (
        (whole[:-8], "expected 3x3 and 3x4 numbers"),
        (whole[:4] + negative.tobytes(), "positive focal length"),
        (whole[:4] + twice.tobytes(), "expected rotations"),
    ):
        camera.write_bytes(data)
        with pytest.raises(FormatError, match=said):
            list(datasets.scans("sintel", tmp_path))
    camera.unlink()
    with pytest.raises(FormatError, match="cannot be read"):
        list(datasets.scans("sintel", tmp_path))
    camera.write_bytes(whole)
    scan.depths[3].unlink()
    with pytest.raises(FormatError, match=r"frame_0004.dpt: no such file"):
        list(datasets.scans("sintel", tmp_path))


# ---- what is read


def test_tum(tmp_path):
    true = poses()
    tum_at(tmp_path / "rgbd_dataset_freiburg3_office", true)
    (sample,) = datasets.read("tum", tmp_path)
    (scan,) = datasets.scans("tum", tmp_path / "rgbd_dataset_freiburg3_office")
    assert sample.name == scan.name == "rgbd_dataset_freiburg3_office" and len(scan) == 4 and scan.known.all()
    assert sample.labels["scan"].video == scan.video and open_video(scan.video)[2].mean() == 20
    np.testing.assert_allclose(scan.poses, true, atol=1e-8)
    assert [scan.depth(t)[0, 0] for t in range(4)] == pytest.approx([1, 1.1, 1.2, 1.3])
    assert scan.intrinsics[3].tolist() == [[535.4, 0, 320.6], [0, 539.2, 248.1], [0, 0, 1]] and scan.size == SIZE


def test_tum_frames_without_depth_or_pose(tmp_path):
    folder, true = tmp_path / "freiburg1", poses()
    tum_at(folder, true, late=0.015)
    sorted((folder / "depth").iterdir())[1].unlink()
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    (folder / "groundtruth.txt").write_text("\n".join(lines[:3]))
    (scan,) = datasets.scans("tum", folder)
    # Frame 2 has no pose: the nearest is 0.018 s before frame 1's end, 0.0183 s away from it.
    assert scan.known.tolist() == [True, True, True, False]
    assert scan.depths[1] is None and scan.depth(1).max() == 0 and scan.depth(0).min() == 1
    np.testing.assert_allclose(scan.poses[2], scan.poses[1])


def slow_associate(times, others, alone):
    out = []
    for t in times:
        off = [abs(t - o) for o in others]
        out.append(int(np.argmin(off)) if off and min(off) <= tum._NEAR else -1)
    if alone:
        for k in set(out) - {-1}:
            wanting = [i for i, got in enumerate(out) if got == k]
            best = min(wanting, key=lambda i: abs(times[i] - others[k]))
            out = [-1 if got == k and i != best else got for i, got in enumerate(out)]
    return out


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alone", [True, False])
def test_association(seed, alone):
    rng = np.random.default_rng(seed)
    times, others = rng.uniform(0, 1, 30), rng.uniform(0, 1, rng.integers(0, 40))
    assert tum._associate(times, others, alone).tolist() == slow_associate(times, others, alone)


def test_bonn(tmp_path):
    folder, lines = tmp_path / "rgbd_bonn_balloon", poses()
    tum_at(folder, lines)
    (scan,) = datasets.scans("bonn", tmp_path)
    (sample,) = datasets.read("bonn", folder)
    assert sample.labels["scan"].intrinsics[0, 0, 2] == pytest.approx(316.09352) and scan.known.all()
    # A pixel lifted by our depth and pose is where the published product, scale and all, puts what was measured.
    whole = np.eye(4)
    whole[:3] = bonn._CAMERA
    xy = np.array([[3.5, 4.5], [9.0, 2.0]])
    for t in range(4):
        z = scan.depth(t)[0, 0]
        assert z == pytest.approx((1 + 0.1 * t) * 1.0593, rel=1e-3)
        rays = np.concatenate([xy, np.ones((2, 1))], 1) @ np.linalg.inv(scan.intrinsics[t]).T * (1 + 0.1 * t)
        published = (bonn._AXES @ lines[t] @ bonn._AXES @ whole) @ np.concatenate([rays, np.ones((2, 1))], 1).T
        np.testing.assert_allclose(scan.lift(xy, np.full(2, z), t), published[:3].T, atol=2e-3)


def test_sintel(tmp_path):
    true = poses(seed=3)
    sintel_at(tmp_path, true)
    sintel_at(tmp_path, true, render="clean")
    sintel_at(tmp_path, true[:2], name="bamboo_2")
    samples = list(datasets.read("sintel", tmp_path))
    assert [s.name for s in samples] == ["alley_1", "bamboo_2"]
    (scan,) = datasets.scans("sintel", tmp_path / "training", render="clean")
    assert scan.video.parts[-2:] == ("clean", "alley_1") and len(scan) == 4
    np.testing.assert_allclose(scan.poses, true, atol=1e-12)
    assert scan.intrinsics[2].tolist() == [[22, 0, 8], [0, 22, 6], [0, 0, 1]]
    assert scan.depth(1)[0, 3] == pytest.approx(2.03) and scan.depth(1).shape == SIZE


def test_lifting_and_projecting_are_inverse(tmp_path):
    sintel_at(tmp_path, poses())
    (scan,) = datasets.scans("sintel", tmp_path)
    xy, z = np.random.default_rng(0).uniform(1, 11, (20, 2)), np.linspace(1, 5, 20)
    for t in range(4):
        again, depth = scan.project(scan.lift(xy, z, t), t)
        np.testing.assert_allclose(again, xy, atol=1e-9)
        np.testing.assert_allclose(depth, z)
