"""The benchmark of interpolation: it scores what methods make, compares them fairly, and shows the worst."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks import interp, interp_cases, interp_methods
from benchmarks.__main__ import main
from benchmarks.bootstrap import paired
from benchmarks.ebme import BiFlowNet, EbmeMotion
from benchmarks.interp import rounded, run, table
from benchmarks.interp_cases import Target, every, left_out
from benchmarks.interp_methods import Maker
from benchmarks.interp_worst import BAR, ZOOM, Worst
from benchmarks.report import Report
from trackime.errors import InputError, UnknownNameError
from trackime.metrics import psnr, ssim
from trackime.video import open_video
from trackime.worlds import make_world
from trackime_apps.interp import Blend, InterpConfig


def score(made, truth):
    """A stand-in for the package's measures."""
    error = made - truth
    return {"PSNR": float(-10 * np.log10(max(1e-10, np.square(error).mean()))), "IE": float(255 * np.abs(error).mean())}


def moving(count=9, size=(24, 40), seed=0):
    """A texture that slides by two pixels a frame."""
    rng = np.random.default_rng(seed)
    wide = cv2.GaussianBlur(rng.integers(0, 256, (size[0], size[1] + 2 * count, 3), np.uint8), (0, 0), 1.5)
    return np.stack([wide[:, 2 * t : 2 * t + size[1]] for t in range(count)])


@pytest.fixture
def case():
    return every("slide", lambda: open_video(moving()), None, 1.0)


class Shifted(Blend):
    """Knows the motion, but for an error of some pixels."""

    def __init__(self, video, off=0):
        super().__init__(video)
        self.off = off

    def __call__(self, i, j, taus):
        for tau in taus:
            yield np.roll(self.video[i].astype(np.float32) / 255, -round(4 * tau) - self.off, 1)


METHODS = {"mean": Blend, "flow": lambda video: Shifted(video, 1), "tracks": Shifted}


# ---- bad methods


class Bad(Blend):
    def __init__(self, video, frames):
        super().__init__(video)
        self.frames = frames

    def __call__(self, i, j, taus):
        yield from self.frames


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], r"slide: bad: expected a frame between 0 and 1 at 0.500, got none"),
        ([np.zeros((24, 40, 3), np.float32)] * 2, "expected 1 frames between 0 and 1, got more"),
        ([np.zeros((24, 40, 3))], r"expected float32 \[24, 40, 3\] between 0 and 1, got float64"),
        ([np.zeros((24, 41, 3), np.float32)], r"got float32 \[24, 41, 3\]"),
        ([np.full((24, 40, 3), np.nan, np.float32)], "not finite"),
    ],
)
def test_methods_that_do_not_do_as_they_should(case, frames, message):
    with pytest.raises(InputError, match=message):
        run(case, {"bad": lambda video: Bad(video, frames)}, score)


def test_nothing_to_measure():
    with pytest.raises(InputError, match="expected at least one case, got none"):
        table(Report("none"), [], METHODS, score)


def test_cases_of_one_name(case):
    with pytest.raises(InputError, match="slide: expected cases of different names"):
        table(Report("twice"), [case, case], METHODS, score)


# ---- runs and tables


def test_methods_see_the_kept_frames_alone(case):
    seen = {}

    class Spy(Blend):
        def __init__(self, video):
            super().__init__(video)
            seen["frames"], seen["pts"], seen["calls"] = video.read(0, len(video)), video.info.pts, []

        def __call__(self, i, j, taus):
            seen["calls"].append((i, j, tuple(np.round(taus, 9))))
            return super().__call__(i, j, taus)

    runs = run(case, {"spy": Spy, "mean": Blend}, score)
    assert (seen["frames"] == moving()[::2]).all() and np.allclose(seen["pts"], np.arange(5) * 0.08)
    assert seen["calls"] == [(k, k + 1, (0.5,)) for k in range(4)]
    np.testing.assert_array_equal(runs["spy"].of("PSNR"), runs["mean"].of("PSNR"))
    first = rounded((moving()[0].astype(np.float32) + moving()[2]) / 510)
    expected = score(first, moving()[1].astype(np.float32) / 255)["PSNR"]
    assert runs["mean"].of("PSNR")[0] == pytest.approx(expected, abs=0.05)  # halves may be rounded either way


def test_several_frames_of_an_interval_are_asked_for_at_once():
    case = left_out("slide", lambda: open_video(moving()), [0, 4, 8], [1, 2, 3, 6])
    calls = []

    class Spy(Blend):
        def __call__(self, i, j, taus):
            calls.append((i, j, len(taus)))
            return super().__call__(i, j, taus)

    runs = run(case, {"spy": Spy}, score)
    assert calls == [(0, 1, 3), (1, 2, 1)] and len(runs["spy"].scores) == 4
    at = Target(0, 1, 0.25, 1)
    (made,) = Blend(case.video)(at.i, at.j, [at.tau])
    np.testing.assert_allclose(made, (0.75 * moving()[0] + 0.25 * moving()[4]) / 255, atol=1e-6)


def test_what_is_scored_is_what_eight_bits_keep():
    frame = np.array([[[-0.2, 0.5001, 1.3]]], np.float32)
    assert (rounded(frame) * 255).round(4).tolist() == [[[0, 128, 255]]]


def test_table(case):
    other = every("other", lambda: open_video(moving(7, seed=3)), None, 1.0)
    report = Report("interpolation", digits=2)
    table(report, [replace(case, motion={"p50": 4.0}), other], METHODS, score)
    assert [(row["case"], row["method"]) for row in report.rows] == [
        (name, method) for name in ("slide", "other", "mean of 2 cases") for method in METHODS
    ]
    rows = {(row["case"], row["method"]): row for row in report.rows}
    last = rows["mean of 2 cases", "tracks"]
    assert last["frames"] == 7 and last["seconds"] > 0
    # Cases count the same, however many frames they have.
    assert last["PSNR"] == pytest.approx((rows["slide", "tracks"]["PSNR"] + rows["other", "tracks"]["PSNR"]) / 2)
    for name in ("slide", "other", "mean of 2 cases"):
        row = rows[name, "tracks"]
        assert row["dPSNR"] == pytest.approx(row["PSNR"] - rows[name, "flow"]["PSNR"])
        assert row["low"] <= row["dPSNR"] <= row["high"] and row["low"] > 1
        assert "dPSNR" not in rows[name, "flow"] and "dPSNR" in rows[name, "mean"]
    details = report.details
    assert details["differences from flow"]["tracks"]["IE"]["high"] < 0
    assert details["frames"]["slide"]["t"] == [1, 3, 5, 7] and len(details["frames"]["other"]["flow"]["IE"]) == 3
    assert list(details["true motion between kept frames, px"]) == ["slide"]


def test_short_cases_are_shown_together():
    def cases(*groups):
        made = (every(str(k), lambda: open_video(moving(5)), None, 1.0) for k in range(len(groups)))
        return [replace(case, group=group) for case, group in zip(made, groups, strict=True)]

    report = Report("groups")
    table(report, cases("easy", "hard", "", "hard"), METHODS, score)
    shown = ["2", "easy, mean of 1 case", "hard, mean of 2 cases", "mean of 4 cases"]
    assert [row["case"] for row in report.rows] == [name for name in shown for _ in METHODS]
    assert {"dPSNR", "low"} < set(report.rows[-1]) and len(report.details["frames"]) == 4
    alone = Report("one group")
    table(alone, cases("easy", "easy"), METHODS, score)
    assert [row["case"] for row in alone.rows] == ["easy, mean of 2 cases"] * 3


def test_table_without_flow(case):
    report = Report("interpolation")
    table(report, [case], {"mean": Blend}, score)
    assert [row["case"] for row in report.rows] == ["slide", "mean of 1 case"]
    assert "dPSNR" not in report.rows[1] and report.details["differences from flow"] == {}


# ---- intervals


def test_bootstrap_refuses_nothing():
    for empty in ([], [np.zeros(0)], [np.ones(3), np.zeros(0)]):
        with pytest.raises(InputError, match="bootstrap: expected at least one case"):
            paired(empty)


def test_bootstrap_of_what_does_not_vary():
    assert paired([np.full(5, 0.25), np.full(40, 0.25), np.full(1, 0.25)]) == (0.25, 0.25, 0.25)


def test_bootstrap_is_seeded_and_weighs_cases_alike():
    cases = [np.random.default_rng(k).normal(k, 1, 10 * k + 1) for k in range(5)]
    assert paired(cases, 3) == paired(cases, 3) != paired(cases, 4)
    mean, low, high = paired(cases)
    assert mean == pytest.approx(np.mean([c.mean() for c in cases])) and low < mean < high


def test_bootstrap_intervals_hold_the_truth():
    """95 % of the time, about: drawn cases of a known mean, each with its own effect."""
    held, held_alone, rng = 0, 0, np.random.default_rng(5)
    for trial in range(120):
        cases = [0.3 + rng.normal(0, 0.5) + rng.normal(0, 1, 12) for _ in range(20)]
        _, low, high = paired(cases, trial, draws=300)
        held += low <= 0.3 <= high
        _, low, high = paired([0.3 + rng.normal(0, 1, 60)], trial, draws=300)
        held_alone += low <= 0.3 <= high
    assert 104 <= held <= 119 and 100 <= held_alone <= 119


def test_frames_that_are_alike_are_drawn_together():
    slow = np.repeat(np.random.default_rng(0).normal(0, 1, 20), 8)  # eight frames alike
    wide, narrow = (paired([slow], block=block) for block in (8, 1))
    assert wide[2] - wide[1] > 1.8 * (narrow[2] - narrow[1])


# ---- the worst frames


def test_the_worst_frames_are_shown(case, tmp_path):
    other = every("a/b c", lambda: open_video(moving(7, seed=3)), None, 1.0)
    worst, runs = Worst(count=3), {}
    # Here the flow is right and the tracks are off: they lose everywhere.
    methods = {"mean": Blend, "flow": Shifted, "tracks": lambda video: Shifted(video, 2)}
    for each in (case, other):
        runs[each.name] = run(each, methods, score, worst)
    found = worst.findings()
    losses = {name: r["flow"].of("PSNR") - r["tracks"].of("PSNR") for name, r in runs.items()}
    assert [finding.method for finding in found] == ["tracks"] * 3
    firsts = sorted((float(values.max()) for values in losses.values()), reverse=True)
    assert [finding.loss for finding in found[:2]] == pytest.approx(firsts)  # one of each case first
    paths = worst.save(tmp_path)
    assert {path.name for path in paths} == {path.name for path in tmp_path.iterdir()} and len(paths) == 3
    assert any(path.name.endswith(f"_a_b_c_{f.t:05d}.png") for path, f in zip(paths, found, strict=True))
    picture = cv2.imread(str(paths[0]))
    assert picture.shape == (BAR + ZOOM * 24, 6 * (ZOOM * 40 + 2), 3)  # before, after, true, flow, tracks, error


def test_the_worst_without_a_rival(case):
    worst = Worst(count=2)
    runs = run(case, {"mean": Blend, "tracks": Shifted}, score, worst)
    assert [f.loss for f in worst.findings()] == pytest.approx(sorted(-runs["tracks"].of("PSNR"), reverse=True)[:2])
    alone = Worst(count=1)
    run(case, {"mean": Blend}, score, alone)
    assert [finding.method for finding in alone.findings()] == ["mean"]


def test_the_part_shown_is_where_it_went_wrong():
    frames = np.full((3, 400, 600, 3), 100, np.uint8)
    broken = np.full((400, 600, 3), 100, np.float32) / 255
    broken[350:370, 500:530] = 1
    case = every("still", lambda: open_video(frames), None, 1.0)
    worst = Worst(count=1)
    run(case, {"tracks": lambda video: Bad(video, [broken])}, score, worst)
    picture = worst.findings()[0].picture
    error = picture[BAR:, -(192 * ZOOM + 2) : -2, 0]
    assert (error == 255).sum() == 20 * 30 * ZOOM**2


# ---- which methods there are


def make(given):
    between = Blend(given.video)
    between.made = given.config, given.tracker, given.segmenter, given.device
    return between


def synthesise(video, source, device):
    between = Blend(video)
    between.source = source
    return between


@pytest.fixture
def maker():
    return lambda device: Maker(device, "lk", "graphcut", make, synthesise)


def test_methods_by_name(tmp_path, case, maker):
    path = tmp_path / "net.pt"
    torch.save(BiFlowNet().state_dict(), path)
    known = ["mean", "flow", "flow-curved", "tracks-linear", "tracks-curved", "tracks"]
    assert list(interp_methods.methods(maker=maker)) == known
    found = interp_methods.methods(weights=path, maker=maker)
    assert tuple(found) == interp_methods.METHODS
    assert isinstance(found["mean"](case.video), Blend)
    straight = InterpConfig(method="flow", curved=False)
    assert found["flow"](case.video).made == (straight, "lk", "graphcut", "cpu")
    assert found["tracks"](case.video).made == (InterpConfig(), "lk", "graphcut", "cpu")
    source = found["network"](case.video).source
    assert isinstance(source, EbmeMotion) and source.video is case.video
    assert list(interp_methods.methods(["tracks", "flow", "tracks"], maker=maker)) == ["flow", "tracks"]


def test_methods_that_are_not(tmp_path, maker):
    with pytest.raises(UnknownNameError, match="unknown method 'magic': expected one of mean, flow"):
        interp_methods.methods(["magic"])
    with pytest.raises(InputError, match=r"network: expected the file of its weights \(--weights\), got none"):
        interp_methods.methods(["network"])
    with pytest.raises(InputError, match="weights: expected network among the methods, got mean"):
        interp_methods.methods(["mean"], weights=tmp_path / "x")
    with pytest.raises(InputError, match="nothing there"):
        interp_methods.methods(["network"], weights=tmp_path / "x", maker=maker)
    assert list(interp_methods.methods(["mean"])) == [interp.MEAN]


def test_oracles_know_the_true_motion(case, maker):
    oracles = interp_methods.oracles(maker("cpu"))
    with pytest.raises(InputError, match="slide: expected a world"):
        oracles["true motion"](case)
    (world,) = interp_cases.worlds(1, (64, 48), frames=5)
    report, worst = Report("worlds"), Worst(count=1)
    table(report, [world], {"flow": Blend, "tracks": Blend}, worst=worst, oracles=oracles)
    assert [row["method"] for row in report.rows[:4]] == ["flow", "tracks", "true motion, straight", "true motion"]
    assert report.rows[3]["dPSNR"] == 0 and [f.method for f in worst.findings()] == ["tracks"]
    straight = oracles["true motion, straight"](world).source.between(0, 1)
    curved = oracles["true motion"](world).source.between(0, 1)
    assert straight.forward.quadratic is None and straight.backward.quadratic is None
    assert torch.equal(straight.backward.flow, curved.backward.flow)


def test_true_motion_leads_through_the_frame_between():
    world = make_world(seed=2, width=64, height=48, frames=5, objects=3, **interp_cases.SPORTS)
    source = interp_cases.TrueMotion(world, [0, 4])
    motion = source.between(0, 1)
    for side, a, b in ((motion.forward, 0, 4), (motion.backward, 4, 0)):
        for s, t in ((0.5, 2), (1.0, b)):
            torch.testing.assert_close(
                side.displacement(s).movedim(0, -1), torch.from_numpy(world.flow(a, t)[0]), atol=1e-3, rtol=0
            )
        assert (side.visibility.numpy() == world.flow(a, b)[1]).all()
        assert side.order is not None and 0 <= float(side.order.min()) and float(side.order.max()) <= 1
        assert (side.order[torch.from_numpy(world.mask(a) == 0)] == 0).all()


# ---- the command


def invoke(*args):
    return CliRunner().invoke(main, ["interpolate", *map(str, args)])


def test_command(tmp_path):
    for t, frame in enumerate(moving()):
        path = tmp_path / "clip" / f"{t:03d}.png"
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), frame[..., ::-1])
    out, worst = tmp_path / "a.json", tmp_path / "worst"
    small = ("--clip", tmp_path / "clip", "--max-frames", 7, "--worlds", 1, "--size", "64x48", "--frames", 3)
    result = invoke(*small, "--method", "mean", "--json", out, "--worst", worst)
    assert result.exit_code == 0, result.output
    got = json.loads(out.read_text())
    name = f"{tmp_path.name}/clip"
    assert [row["case"] for row in got["rows"]] == [name, "world 0", "mean of 2 cases"]
    assert list(got["rows"][0])[3:8] == ["PSNR", "SSIM", "SSIM 3d", "IE rms", "IE abs"]
    first = got["frames"][name]
    blend = rounded((0.5 * moving()[0].astype(np.float32) + 0.5 * moving()[2]) / np.float32(255))
    assert first["mean"]["PSNR"][0] == pytest.approx(psnr(blend, moving()[1]), abs=0.05)
    assert first["mean"]["SSIM"][0] == pytest.approx(100 * ssim(blend, moving()[1]), abs=0.1)
    assert first["t"] == [1, 3, 5] and 0 < got["rows"][2]["SSIM"] < 100
    assert sorted(got["worst"]) == sorted(path.name for path in worst.iterdir())
    assert got["true motion between kept frames, px"]["world 0"]["p50"] > 0


def test_command_says_what_is_wrong(tmp_path):
    for typed, said in (
        ((), "expected one or more of --clip, --davis"),
        (("--worlds", 1, "--mode", "hard"), "--mode: expected --snufilm beside it"),
        (("--worlds", 1, "--method", "network"), "network: expected the file of its weights"),
        (("--vimeo90k", tmp_path, "--method", "mean"), "with its list tri_testlist.txt, found none"),
        (("--worlds", 1, "--method", "magic"), "'magic' is not one of"),
        (("--worlds", 1, "--clip", tmp_path, "--oracle"), "--oracle: expected --worlds and no other source"),
    ):
        result = invoke(*typed)
        assert result.exit_code and said in result.output + str(result.exception), (typed, result.output)
