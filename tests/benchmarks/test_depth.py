"""The benchmark of depth: bad input, what spoils depth, what makes matches, the tables on tiny worlds."""

from __future__ import annotations

import json
import math
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import depth as bench
from benchmarks import depth_cases
from benchmarks.__main__ import main
from benchmarks.depth_matches import of_flow
from benchmarks.depth_spoiled import SpoiledDepth
from benchmarks.report import Report
from trackime.errors import FormatError, InputError, SolveError
from trackime.geometry import Cameras
from trackime.metrics import depth_scores
from trackime_apps.depth import hierarchical_pairs
from trackime_apps.depth.solver import SolverConfig

SMALL = ((96, 72), 6)


@pytest.fixture(scope="module")
def case():
    return next(depth_cases.worlds([3], ["orbit"], *SMALL, movers=1))


def ramp(t):
    return (np.linspace(1, 4, 12 * 16) * (1 + t)).reshape(12, 16)


# ---- bad input


@pytest.mark.parametrize(
    "typed, said",
    [
        ((), "expected either --worlds or --scan"),
        (("--worlds", "1", "--scan", "tum", "."), "expected either --worlds or --scan"),
        (("--scan", "rgbd", ".", "--spoiled"), "--spoiled: expected --worlds beside it"),
        (("--worlds", "1", "--matches", "true tracks"), "--matches: expected --spoiled beside it"),
        (("--worlds", "1", "--spoiled", "--matches", "ours?"), "'ours?' is not one of"),
        (("--worlds", "1", "--alignment", "shift"), "'shift' is not one of"),
        (("--scan", "kitti", "."), "expected one of bonn, rgbd, sintel, tum"),
        (("--worlds", "1", "--spoiled", "--shift", "1", "--size", "32x24", "--frames", "2"), "[0, 1), [0, 1), got"),
    ],
)
def test_says_what_is_wrong(typed, said):
    result = CliRunner().invoke(main, ["depth", *typed])
    assert result.exit_code and said in result.output + str(result.exception)


def test_spoiling_refuses():
    for options in ({"scale": -1}, {"deform": 1}, {"shift": 1}, {"shift": -0.1}, {"scale": math.nan}):
        with pytest.raises(InputError, match="frames, scale, deform, shift: expected"):
            SpoiledDepth(ramp, 3, **options)
    with pytest.raises(InputError, match="frames, scale"):
        SpoiledDepth(ramp, 0)
    with pytest.raises(InputError, match="depth: expected some that is known, got none"):
        SpoiledDepth(lambda t: np.zeros((2, 3)), 2)
    with pytest.raises(InputError, match=r"expected frame 0 \.\. 2, got 3"):
        SpoiledDepth(ramp, 3).depth(3)


# ---- what spoils depth


def test_nothing_is_spoiled_without_a_reason():
    kept = SpoiledDepth(ramp, 3, scale=0, deform=0, shift=0)
    assert not kept.disparity and not kept.metric
    np.testing.assert_allclose(kept.depth(2), ramp(2), rtol=1e-6)


def test_what_is_spoiled_is_what_was_asked_for():
    frames = 400
    scaled = SpoiledDepth(ramp, frames, scale=0.3, deform=0, shift=0)
    logs = np.array([np.log(scaled.depth(t) / ramp(t)) for t in range(frames)])
    assert logs.std((1, 2)).max() < 1e-6  # one factor a frame
    assert logs[:, 0, 0].std() == pytest.approx(0.3, rel=0.15) and abs(logs.mean()) < 0.05
    bent = SpoiledDepth(ramp, frames, scale=0, deform=0.2, shift=0)
    ratio = np.array([bent.depth(t) / ramp(t) for t in range(frames)])
    assert 0.15 < abs(ratio - 1).max() <= 0.2 + 1e-6
    # Smooth: neighbours differ by no more than a wave of 5 radians over the frame can.
    assert abs(np.diff(ratio, axis=2)).max() < 0.1 * 5 / 16 + 1e-6
    plain, shifted = (SpoiledDepth(ramp, 5, shift=s, seed=2) for s in (0.0, 0.5))
    assert shifted.disparity
    for t in range(5):
        np.testing.assert_allclose(1 / shifted.depth(t) + shifted.shift, 1 / plain.depth(t), rtol=1e-5)
    least = min((1 / plain.depth(t)).min() for t in range(5))
    assert shifted.shift == pytest.approx(0.5 * least)
    assert (SpoiledDepth(ramp, 5, seed=2).depth(3) == shifted.depth(3)).all()
    assert (SpoiledDepth(ramp, 5, seed=3).depth(3) != shifted.depth(3)).any()


def test_unknown_stays_unknown():
    holes = SpoiledDepth(lambda t: np.where(ramp(t) < 2, 0, ramp(t)), 2)
    assert ((holes.depth(1) == 0) == (ramp(1) < 2)).all()


# ---- matches


def test_followed_points_stand_still_where_masks_are_known(case):
    initial = SpoiledDepth(case.depth, 6, shift=0, seed=1)
    matches = bench.followed("flow", masked=True)(case, initial)
    assert len(matches) > 200
    for t in range(6):
        at = matches.x_i.numpy()[(matches.i == t).numpy()].astype(int)
        assert case.static(t)[np.minimum(at[:, 1], 71), np.minimum(at[:, 0], 95)].all()


def test_matches_of_flow_are_near_the_truth(case):
    initial = SpoiledDepth(case.depth, 6, shift=0, seed=1)
    masked, free = of_flow(case.video, initial, case.static, 6), of_flow(case.video, initial, None, 6)
    assert len(free) > len(masked) > 500
    pairs = set(zip(masked.i.tolist(), masked.j.tolist(), strict=True))
    assert pairs == {(i, j) for a, b in hierarchical_pairs(6) for i, j in ((a, b), (b, a))}
    for i, j in ((0, 4), (5, 4)):
        rows = ((masked.i == i) & (masked.j == j)).numpy()
        begin, end = masked.x_i.numpy()[rows], masked.x_j.numpy()[rows]
        flow, _ = case.scene.flow(i, j)
        x, y = begin.astype(int).T
        off = np.linalg.norm(end - begin - flow[y, x], axis=1)
        assert np.median(off) < 0.25 * np.median(np.linalg.norm(flow[y, x], axis=1))
        assert case.static(i)[y, x].all()


# ---- tables


def run(*args, path):
    result = CliRunner().invoke(main, ["depth", *args, "--json", str(path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(path.read_text())


def test_spoiled_worlds(case, tmp_path):
    small = ("--worlds", "1", "--size", "48x36", "--frames", "3", "--grid", "6x4", "--movers", "0")
    got = run("--spoiled", *small, "--matches", "true tracks", "--path", "orbit", path=tmp_path / "a.json")
    ways = ["spoiled, scale", "spoiled, scale-shift", "true tracks"]
    assert [(row["world"], row["matches"]) for row in got["rows"]] == [("orbit 0", way) for way in ways]
    report = Report("x")
    makers = {"true tracks": bench.true_tracks}
    bench.spoiled(report, [case, case], makers, bench.Spoiling(), SolverConfig(grid="6x4"))
    rows = report.rows
    assert [(row["world"], row["matches"]) for row in rows] == [
        (world, way) for world in ("orbit 3", "orbit 3", "mean of 2") for way in ways
    ]
    before, after = rows[-3], rows[-1]
    assert before["d1 %"] < 70 and after["d1 %"] > 95 and after["AbsRel"] < 0.3 * before["AbsRel"]
    assert after["ATE %"] < 1 and "ATE %" not in before
    assert after["inconsistent %"] < 0.3 * before["inconsistent %"] and after["flicker %"] < 0.3 * before["flicker %"]
    assert after["d1 %"] == pytest.approx(np.mean([rows[2]["d1 %"], rows[5]["d1 %"]]))


def test_alignment_before_is_the_one_that_is_named(case):
    report = Report("x")
    bench.spoiled(report, [case], {}, bench.Spoiling(), SolverConfig())
    initial = bench.Spoiling().of(case, 0)
    for row in report.rows:
        alignment = row["matches"].removeprefix("spoiled, ")
        expected = depth_scores(initial.depth, case.depth, range(6), alignment=alignment)
        assert row["AbsRel"] == pytest.approx(expected.abs_rel) and row["d1 %"] == pytest.approx(100 * expected.delta1)


class Perfect:
    """What an application without a fault would hand back: the truth in another unit, half of it measured."""

    def __init__(self, case):
        poses = case.poses.copy()
        poses[:, :3, 3] *= 3
        self.case, self.seconds = case, {"solve": 1.0}
        self.cameras = Cameras(poses, np.full(len(poses), case.focal), case.video.info.width, case.video.info.height)

        self.depth = [3 * case.depth(t) for t in range(len(poses))]
        self.measured = [np.arange(z.shape[1]) % 2 == np.zeros((z.shape[0], 1)) for z in self.depth]


def test_the_application(case, tmp_path):
    def refuse(case):
        raise SolveError("the camera does not translate: --depth-model")

    report = Report("x")
    bench.table(report, [case, case], Perfect)
    bench.table(report, [case], refuse)
    one, _, mean, refused = report.rows
    assert one["video"] == "orbit 3" and mean["video"] == "mean of 2"
    assert one["d1 %"] == one["d1 % measured"] == 100 and one["pixels %"] == 100 and one["pixels % measured"] == 50
    assert max(one["AbsRel"], one["ATE"], one["RPE"], one["RPE deg"]) < 1e-6 and one["focal/true"] == 1
    assert one["inconsistent %"] < 2  # true depth sampled between pixels
    assert refused["refused"] == "the camera does not translate: --depth-model" and "d1 %" not in refused
    assert report.details["seconds"] == {"orbit 3": {"solve": 1.0}}


def test_cameras_that_stand_still_have_no_error():
    still = next(depth_cases.worlds([1], ["static"], (48, 36), 4, movers=1))
    report = Report("x")
    bench.table(report, [still], Perfect)
    (row,) = report.rows
    assert row["d1 %"] == 100 and "ATE" not in row and row["inconsistent %"] < 2


def test_scans(tmp_path):
    for t in range(5):
        for name, image in (
            (f"color/{t:05d}.jpg", np.full((12, 16, 3), 40 * t, np.uint8)),
            (f"depth/{t:05d}.png", (1000 * ramp(t)).astype(np.uint16)),
        ):
            (tmp_path / "room" / name).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(tmp_path / "room" / name), image)
    pose = np.eye(4)
    lines = []
    for t in range(5):
        pose[0, 3] = t
        lines.append(" ".join(map(str, pose.ravel())))
    (tmp_path / "room" / "poses_c2w.txt").write_text("\n".join(lines))
    (tmp_path / "room" / "K.txt").write_text("20 0 7.5\n0 20 5.5\n0 0 1")
    (case,) = depth_cases.scans("rgbd", str(tmp_path), first=1, frames=3)
    assert case.name == "room" and len(case.video) == 3 and case.focal == 20 and case.tracks is None
    np.testing.assert_allclose(case.depth(0), ramp(1), atol=1e-3)
    assert case.poses[:, 0, 3].tolist() == [1, 2, 3] and case.video[2].mean() == pytest.approx(120, abs=2)
    report = Report("x")
    bench.table(report, [case], Perfect)
    assert report.rows[0]["d1 %"] == 100 and report.rows[0]["ATE"] < 1e-9 and "flicker %" not in report.rows[0]
    with pytest.raises(InputError, match=r"room: expected a first frame of 0 \.\. 4, got 5"):
        list(depth_cases.scans("rgbd", str(tmp_path), first=5))
    with pytest.raises(InputError, match="expected a world, whose moving objects are known"):
        bench.chained_masked_flow(case, SimpleNamespace())
    with pytest.raises(FormatError):
        list(depth_cases.scans("tum", str(tmp_path)))


def test_end_to_end():
    (case,) = depth_cases.worlds([1], ["wander"], (96, 72), 6, movers=0)
    report = Report("x")
    bench.table(report, [case], partial(bench.run_depth, know_focal=True))
    (row,) = report.rows
    assert row["d1 % measured"] > 90 and row["ATE"] < 0.05 and row["focal/true"] == pytest.approx(1)
