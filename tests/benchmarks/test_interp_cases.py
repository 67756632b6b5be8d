"""Frames left out of videos and data sets: bad input first, then which frames a method gets, at which times."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from benchmarks import interp_cases
from benchmarks.interp_cases import left_out
from trackime import datasets
from trackime.errors import FormatError, InputError, TrackimeError
from trackime.types import VideoInfo
from trackime.video import Video, VideoWriter, open_video
from trackime.worlds import make_world


def numbered(count, size=(8, 12)):
    """Frame t is grey 10 t."""
    return np.repeat(np.arange(count, dtype=np.uint8) * 10, size[0] * size[1] * 3).reshape(count, *size, 3)


def write(path, value, size=(8, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))


def greys(video):
    return [int(frame[0, 0, 0]) for frame in video]


# ---- frames left out of any video


@pytest.mark.parametrize(
    ("kept", "targets", "scale", "message"),
    [
        ([0], [], 1, "expected at least 3 frames"),
        ([0, 2], [], 1, "expected at least 3 frames"),
        ([0, 2], [2], 1, "got 2; kept are"),
        ([0, 2], [3], 1, "got 3"),
        ([1, 2], [0], 1, "got 0"),
        ([0, 2], [1], 0.1, "expected frames of 2x2 or more, got 1x1"),
    ],
)
def test_what_cannot_be_left_out(kept, targets, scale, message):
    with pytest.raises(InputError, match=message):
        left_out("clip", lambda: open_video(numbered(4)), kept, targets, scale)


def test_short_clips_and_steps(tmp_path):
    for t in range(2):
        write(tmp_path / f"{t}.png", t)
    with pytest.raises(InputError, match="expected at least 3 frames to leave one out, got 2"):
        list(interp_cases.clips([str(tmp_path)]))
    with pytest.raises(InputError, match="step: expected 2 or more"):
        list(interp_cases.clips([str(tmp_path)], step=1))
    with pytest.raises(TrackimeError, match="no such file"):
        list(interp_cases.clips([str(tmp_path / "gone.mp4")]))


@pytest.mark.parametrize(
    ("count", "limit", "step", "kept", "targets"),
    [
        (7, None, 2, [0, 2, 4, 6], [1, 3, 5]),
        (8, None, 2, [0, 2, 4, 6], [1, 3, 5]),  # the last frame has no neighbour behind it
        (9, 6, 2, [0, 2, 4], [1, 3]),
        (9, None, 4, [0, 4, 8], [1, 2, 3, 5, 6, 7]),
    ],
)
def test_every_other_frame(count, limit, step, kept, targets, tmp_path):
    for t in range(count):
        write(tmp_path / "clip" / f"{t}.png", 10 * t)
    (case,) = interp_cases.clips([str(tmp_path / "clip")], limit, step=step)
    assert case.name == f"{tmp_path.name}/clip" and greys(case.video) == [10 * t for t in kept]
    assert [target.t for target in case.targets] == targets
    for target in case.targets:
        begin, end = kept[target.i], kept[target.j]
        assert target.j == target.i + 1 and begin < target.t < end
        assert target.tau == pytest.approx((target.t - begin) / (end - begin))
        assert case.truth[target.t][0, 0, 0] == 10 * target.t
    np.testing.assert_allclose(case.video.info.pts, np.array(kept) / 25)
    assert case.video.info.names == tuple(map(str, kept))


class Uneven:
    """A video source whose frames are not evenly spaced."""

    warnings: tuple[str, ...] = ()

    def __init__(self):
        self.info = VideoInfo(12, 8, [5.0, 5.1, 5.4, 5.5, 6.0])

    def read(self, t0, t1):
        return numbered(5)[t0:t1]

    def close(self):
        pass


def test_tau_follows_the_times():
    case = left_out("clip", lambda: Video(Uneven()), [0, 2, 4], [1, 3])
    assert [target.tau for target in case.targets] == pytest.approx([0.25, 1 / 6])
    assert case.video.info.pts.tolist() == [5.0, 5.4, 6.0]


def test_a_file_and_its_scale(tmp_path):
    path = tmp_path / "clip.mp4"
    frames = np.repeat(np.linspace(20, 220, 7).astype(np.uint8), 64 * 48 * 3).reshape(7, 48, 64, 3)
    with VideoWriter(path, 64, 48, Fraction(24)) as out:
        for frame in frames:
            out.write(frame)
    (case,) = interp_cases.clips([str(path)], scale=0.5)
    assert (case.video.info.width, case.video.info.height) == (32, 24)
    assert case.video[1].shape == case.truth[3].shape == (24, 32, 3)
    for target in case.targets:
        assert abs(int(case.truth[target.t].mean()) - int(frames[target.t].mean())) < 6
        assert abs(int(case.video[target.i].mean()) - int(frames[target.t - 1].mean())) < 6
    case.close()
    with pytest.raises(TrackimeError, match="closed"):
        case.video[0]


def test_davis(tmp_path):
    for t in range(5):
        write(tmp_path / "bear" / "frames" / f"{t:05d}.png", 10 * t)
        write(tmp_path / "bear" / "masks" / f"{t:05d}.png", 255)
    (case,) = interp_cases.davis(str(tmp_path))
    assert case.name == "bear" and greys(case.video) == [0, 20, 40]


# ---- data sets


def vimeo(root, names=("00001/0001", "00002/0003")):
    for n, name in enumerate(names):
        for k in (1, 2, 3):
            write(root / "sequences" / name / f"im{k}.png", 50 * n + 10 * k)
    (root / "tri_testlist.txt").write_text("\n".join(names) + "\n\n")


def test_vimeo90k(tmp_path):
    vimeo(tmp_path)
    first, second = datasets.read("vimeo90k", tmp_path)
    assert first.name == "00001/0001" and first.labels == {"kept": (0, 2), "targets": (1,)}
    assert greys(open_video(second.video)) == [60, 70, 80]
    cases = list(interp_cases.dataset("vimeo90k", str(tmp_path), limit=1))
    assert len(cases) == 1 and greys(cases[0].video) == [10, 30]
    assert [(t.i, t.j, t.t) for t in cases[0].targets] == [(0, 1, 1)] and cases[0].targets[0].tau == pytest.approx(0.5)


def test_vimeo90k_that_is_not_whole(tmp_path):
    vimeo(tmp_path)
    with pytest.raises(FormatError, match=r"with its list tri_trainlist.txt, found none"):
        datasets.read("vimeo90k", tmp_path, split="train")
    (tmp_path / "sequences/00002/0003/im2.png").unlink()
    with pytest.raises(FormatError, match=r"tri_testlist.txt: expected .*0003/im2.png, found nothing there"):
        list(datasets.read("vimeo90k", tmp_path))
    write(tmp_path / "sequences/00002/0003/im2.png", 0, (6, 12))
    with pytest.raises(FormatError, match=r"im2.png: expected 12x8 as im1.png, got 12x6"):
        list(datasets.read("vimeo90k", tmp_path))
    (tmp_path / "sequences/00002/0003/im2.png").write_text("no picture")
    with pytest.raises(FormatError, match="not an image"):
        list(datasets.read("vimeo90k", tmp_path))
    (tmp_path / "tri_testlist.txt").write_text("../../secret\n")
    with pytest.raises(FormatError, match="expected names of files below"):
        list(datasets.read("vimeo90k", tmp_path))
    (tmp_path / "tri_testlist.txt").write_text("\n")
    with pytest.raises(FormatError, match="expected a text of file names, found none"):
        datasets.read("vimeo90k", tmp_path)
    (tmp_path / "tri_testlist.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="expected a text of file names, got"):
        datasets.read("vimeo90k", tmp_path)


def snufilm(root, prefix=""):
    for k in range(5):
        write(root / "GOPRO_test/G1" / f"{k:06d}.png", 10 * k)
    for mode, step in (("easy", 1), ("medium", 2), ("hard", 2), ("extreme", 2)):
        rows = [" ".join(f"{prefix}GOPRO_test/G1/{k:06d}.png" for k in (2 - step, 2, 2 + step))]
        (root / "eval_modes").mkdir(exist_ok=True)
        (root / "eval_modes" / f"test-{mode}.txt").write_text("\n".join(rows))


@pytest.mark.parametrize("prefix", ["", "data/SNU-FILM/test/"])
def test_snufilm(prefix, tmp_path):
    snufilm(tmp_path, prefix)
    samples = list(datasets.read("snufilm", tmp_path))
    assert [s.name for s in samples] == [f"{mode}/G1/000002" for mode in ("easy", "medium", "hard", "extreme")]
    assert greys(open_video(samples[0].video)) == [10, 20, 30] and greys(open_video(samples[1].video)) == [0, 20, 40]
    (case,) = interp_cases.dataset("snufilm", str(tmp_path), split="hard")
    assert case.group == "SNU-FILM hard"
    assert greys(case.video) == [0, 40] and case.truth[case.targets[0].t][0, 0, 0] == 20


def test_snufilm_that_is_not_whole(tmp_path):
    snufilm(tmp_path)
    with pytest.raises(InputError, match="split: expected one of easy, medium, hard, extreme, got 'worst'"):
        datasets.read("snufilm", tmp_path, split="worst")
    (tmp_path / "eval_modes/test-hard.txt").write_text("a.png b.png\n")
    with pytest.raises(FormatError, match="expected three files per line, got 2"):
        datasets.read("snufilm", tmp_path)
    (tmp_path / "eval_modes/test-hard.txt").unlink()
    with pytest.raises(FormatError, match=r"test-hard.txt, found none"):
        datasets.read("snufilm", tmp_path)


def test_x4k1000fps(tmp_path):
    for k in range(33):
        write(tmp_path / "Type1/TEST01" / f"{k:04d}.png", 5 * k, (4, 4))
    (case,) = interp_cases.dataset("x4k1000fps", str(tmp_path))
    assert case.name == "Type1/TEST01" and greys(case.video) == [0, 160]
    assert [target.t for target in case.targets] == [4, 8, 12, 16, 20, 24, 28]
    assert [target.tau for target in case.targets] == pytest.approx([k / 8 for k in range(1, 8)])
    with pytest.raises(InputError, match="factor: expected one of 2, 4, 8, 16, 32, got 3"):
        datasets.read("x4k1000fps", tmp_path, factor=3)
    (tmp_path / "Type1/TEST01/0004.png").unlink()
    with pytest.raises(FormatError, match="expected a scene of 33 frames, got 32"):
        datasets.read("x4k1000fps", tmp_path)


def test_sportsslomo(tmp_path):
    root = tmp_path / "frames"
    for k in range(9):
        write(root / "clip_0007" / f"frame_{k:04d}.png", 10 * k)
    rows = [f"clip_0007/frame_{k:04d}.png" for k in range(9)]
    for place in (root / "vfi_test.txt", root / "splits" / "vfi_test.txt", tmp_path / "splits" / "vfi_test.txt"):
        place.parent.mkdir(exist_ok=True)
        place.write_text("\n".join(rows))
        (sample,) = datasets.read("sportsslomo", root)
        assert sample.name == "clip_0007/frame_0000" and greys(open_video(sample.video)) == list(range(0, 90, 10))
        place.rename(tmp_path / "own.txt")
        with pytest.raises(FormatError, match=r"SportsSloMo with its list vfi_test.txt, found none"):
            datasets.read("sportsslomo", root)
    (case,) = interp_cases.dataset("sportsslomo", str(root), split=str(tmp_path / "own.txt"))
    assert greys(case.video) == [0, 80] and [t.tau for t in case.targets] == pytest.approx(np.arange(1, 8) / 8)
    (tmp_path / "own.txt").write_text("\n".join(rows[:8]))
    with pytest.raises(FormatError, match="expected 9 files per sample, got 8 lines"):
        datasets.read("sportsslomo", root, split=tmp_path / "own.txt")


# ---- worlds


def test_worlds_move_as_far_as_they_say():
    (case,) = interp_cases.worlds(1, (320, 180), frames=7)
    assert len(case.video) == 4 and [target.t for target in case.targets] == [1, 3, 5]
    # Half the size of which 20 to 80 px are promised: half the motion.
    assert 8 < case.motion["p50"] < 45 and case.motion["p10"] < case.motion["p50"] < case.motion["p90"]
    assert 0 < case.motion["hidden"] < 0.6 and 0 < case.motion["large"] <= 1
    (slow,) = interp_cases.worlds(
        1, (64, 48), frames=3, speed=0.0, camera=0.0, shake=0.0, turn=0.0, nonrigid=0.0, zoom=1
    )
    assert slow.motion["p90"] < 1e-3 and slow.motion["hidden"] == slow.motion["large"] == 0


def test_true_motion_is_that_of_the_flow():
    world = make_world(seed=1, width=64, height=48, frames=3, objects=2, **interp_cases.SPORTS)
    flow, seen = world.flow(0, 2)
    at = np.s_[8::16, 8::16]
    found = interp_cases.true_motion(world, [0, 2])
    assert found["p50"] == pytest.approx(float(np.median(np.linalg.norm(flow[at], axis=-1))), abs=1e-3)
    assert found["hidden"] == pytest.approx(1 - seen[at].mean())
