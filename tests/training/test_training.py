"""Training: losses and their gradients, clips, runs in slices, validation, the command line."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import pytest
import torch
from torch import Tensor

from tests.trackers.squares import squares
from trackime.errors import FormatError, InputError, SolveError
from trackime.trackers import EmbeddedOptions, EmbeddedTracker, Features, PointTracker
from trackime.trackers.networks import NetworkSize, TrackimeSEstimate
from trackime.trackers.trackime_s import load_weights
from trackime.training import ValidationSet, WorldClips, commands, data
from trackime.training import _losses as losses
from trackime.training import _state as state
from trackime.training._config import PRESETS, CurriculumStage, TrainConfig
from trackime.training._loop import BEST, LOG, STATE, VALIDATION, SliceSchedule, TrainingRun, rate_at, train
from trackime.training._losses import ClipTruth, LossConfig
from trackime.training._step import forward
from trackime.training._team import ProcessTeam, together
from trackime.training.data import Clips, _vary, batches
from trackime.training.validate import Validator, calibrate, score
from trackime.worlds import TexturePool

TINY = NetworkSize((8, 8, 16, 16), (1, 1, 1), 16, 32, 2, 2, window=6, overlap=2)
STAGE = CurriculumStage(1.0, 32, 6, 2, 8, chained=0.5)
CONFIG = TrainConfig(size=TINY, stages=(STAGE,), steps=6, warmup=2, rate=2e-3, bf16=False, uses=2)
CPU = torch.device("cpu")


@pytest.fixture
def quick_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few, small textures to make worlds of: the usual pool takes seconds to make."""
    for split in ("train", "val"):
        pool = TexturePool.procedural(count=3, outlines=3, side=64, split=split)
        monkeypatch.setitem(data._POOLS, (None, None, split, "cpu"), pool)


def truth(seed: int = 0, dtype: torch.dtype = torch.float64) -> ClipTruth:
    generator = torch.Generator().manual_seed(seed)
    xy = torch.rand(1, 3, 4, 2, generator=generator, dtype=dtype) * 32
    visible = torch.rand(1, 3, 4, generator=generator) < 0.6
    visible[0, 0, 1] = True
    scored = torch.ones_like(visible)
    scored[..., 0] = False
    masks = torch.zeros(1, 4, 32, 32, dtype=torch.uint8)
    masks[:, :, :, 16:] = 1
    return ClipTruth(xy, visible, scored, torch.tensor([[0, 1, 0]]), masks)


# ---- bad input first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "expected steps, uses, processes and stages of 1 or more"),
        ({"stages": ()}, "stages of 1 or more"),
        ({"stages": (replace(STAGE, side=100),)}, "multiples of 16"),
        ({"stages": (replace(STAGE, frames=1),)}, "2 frames or more"),
    ],
)
def test_configurations_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "[]", '{"stages": []}', "{}"])
def test_files_that_are_no_configuration(text: str) -> None:
    with pytest.raises(InputError, match="expected a configuration written by a run"):
        TrainConfig.from_json(text)


def test_commands_fail_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(CONFIG.as_json())
    assert commands.main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "w.safetensors")]) == 1
    assert commands.main(["export", str(tmp_path / "none"), "-o", str(tmp_path / "w.safetensors")]) == 1
    assert commands.main(["validate", "no-such-tracker"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3 and all(line.startswith("error: ") for line in told)


def test_a_state_that_was_cut_short(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the state of a run"):
        state.load_state(tmp_path / "none")
    state.save_state(tmp_path / "s", {"a": torch.arange(5.0)}, {})
    part = tmp_path / "s" / "part-00.bin"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(FormatError, match="cut short or changed"):
        state.load_state(tmp_path / "s")
    (tmp_path / "s" / "index.json").write_text("{}")
    with pytest.raises(FormatError, match="expected the state of a run"):
        state.load_state(tmp_path / "s")


def test_a_run_of_another_network_is_not_gone_on_with(tmp_path: Path) -> None:
    TrainingRun(CONFIG, CPU).save(tmp_path / STATE)
    with pytest.raises(InputError, match="expected the state of a network of"):
        train(tmp_path, replace(CONFIG, size=replace(TINY, width=16)), squares, CPU, SliceSchedule())


def test_a_run_without_gradients_is_given_up(tmp_path: Path) -> None:
    def broken(seed: int, stage: CurriculumStage) -> Clips:
        clips = squares(seed, stage)
        return replace(clips, frames=clips.frames * math.nan)

    with pytest.raises(SolveError, match="20 steps in a row"):
        train(tmp_path, replace(CONFIG, steps=30, uses=30), broken, CPU, SliceSchedule())


# ---- losses


@pytest.mark.parametrize("name", ["huber", "objectness", "fine"])
def test_gradients_of_positions(name: str) -> None:
    true = truth()
    # Away from the corners of the losses: neither on the truth nor where the Huber loss changes its branch.
    xy = true.xy + torch.tensor([[1.3, -0.7], [9.0, 4.0], [-14.0, 0.5]], dtype=torch.float64)[None, :, None]
    xy.requires_grad_()
    config = LossConfig()
    call = {
        "huber": lambda x: losses.huber(x, true, config),
        "objectness": lambda x: losses.objectness(x, true),
        "fine": lambda x: losses.fine_loss(x, true),
    }[name]
    assert call(xy) > 0
    assert torch.autograd.gradcheck(call, (xy,))


def test_gradients_of_logits() -> None:
    true = truth()
    logits = torch.randn(1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    xy = true.xy + 5
    assert torch.autograd.gradcheck(lambda x: losses.visibility_loss(x, true), (logits,))
    assert torch.autograd.gradcheck(lambda x: losses.error_loss(x, xy, true, LossConfig()), (logits,))
    maps = torch.randn(1, 3, 4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.search_loss(x, 8, true), (maps,))


def test_losses_against_slow_ones() -> None:
    true, config = truth(), LossConfig()
    xy = true.xy + torch.randn(true.xy.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 5
    logits = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    huber, weight, fine, seen, wrong, astray, counted = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0
    for n in range(3):
        for t in range(1, 4):
            off, visible = (xy - true.xy)[0, n, t], bool(true.visible[0, n, t])
            d, p = float(off.norm()), float(torch.sigmoid(logits[0, n, t]))
            w = 1.0 if visible else 0.2
            huber, weight = huber + w * (0.5 * d * d if d < 4 else 4 * (d - 2)), weight + w
            seen -= math.log(p if visible else 1 - p) / 9
            if visible:
                counted += 1
                fine += math.log1p(d)
                wrong -= math.log(p if d > 6 else 1 - p)
                x, y = (min(31, max(0, math.floor(v))) for v in xy[0, n, t].tolist())
                if int(true.masks[0, t, y, x]) != int(true.object[0, n]):
                    astray += float(off.abs().sum())
    assert float(losses.huber(xy, true, config)) == pytest.approx(huber / weight)
    assert float(losses.fine_loss(xy, true)) == pytest.approx(fine / counted)
    assert float(losses.visibility_loss(logits, true)) == pytest.approx(seen)
    assert float(losses.error_loss(logits, xy, true, config)) == pytest.approx(wrong / counted)
    assert float(losses.objectness(xy, true)) == pytest.approx(astray / counted)


def test_the_search_wants_the_true_cell() -> None:
    true = replace(truth(), xy=torch.full((1, 3, 4, 2), 12.0, dtype=torch.float64))  # the middle of cell (1, 1)
    maps = torch.zeros(1, 3, 4, 4, 4, dtype=torch.float64)
    maps[..., 1, 1] = 50
    assert float(losses.search_loss(maps, 8, true)) == pytest.approx(0, abs=1e-9)
    assert float(losses.search_loss(maps * 0, 8, true)) == pytest.approx(math.log(16))


def test_nothing_to_score_is_no_loss() -> None:
    true = replace(truth(), scored=torch.zeros(1, 3, 4, dtype=torch.bool))
    assert float(losses.huber(true.xy + 1, true, LossConfig())) == 0


# ---- clips


def test_varied_clips_show_the_same_points() -> None:
    clips = squares(3, STAGE).to(CPU)

    def colours(c: Clips) -> Tensor:  # [B, N]: brightness at the query, in the query frame
        grey = c.frames.mean(2)
        x, y = c.query_xy.floor().long().clamp(0, 31).unbind(-1)
        return grey[torch.arange(2)[:, None], c.query_frame, y, x]

    def owners(c: Clips) -> Tensor:
        x, y = c.query_xy.floor().long().clamp(0, 31).unbind(-1)
        return c.masks[torch.arange(2)[:, None], c.query_frame, y, x].long()

    assert torch.equal(owners(clips), clips.object)
    seen = set()
    for seed in range(12):
        varied = _vary(clips, torch.Generator().manual_seed(seed), requery=False)
        torch.testing.assert_close(colours(varied), colours(clips))
        assert torch.equal(owners(varied), clips.object)
        seen.add(tuple(varied.xy[0, 0, 0].tolist()))
        anew = _vary(clips, torch.Generator().manual_seed(seed), requery=True)
        assert anew.visible.gather(2, anew.query_frame[..., None]).all()
    assert len(seen) > 6


def test_batches_are_made_by_number() -> None:
    config = replace(CONFIG, steps=5, uses=2)
    whole = list(batches(config, squares, 0))
    assert len(whole) == 5
    for first in (1, 2, 4):
        for ours, theirs in zip(batches(config, squares, first), whole[first:], strict=True):
            assert torch.equal(ours.frames, theirs.frames) and torch.equal(ours.query_frame, theirs.query_frame)
    other = next(batches(replace(config, processes=2), squares, 0, rank=1))
    assert not torch.equal(other.frames, whole[0].frames)


@pytest.mark.usefixtures("quick_pool")
def test_worlds_become_clips() -> None:
    maker = WorldClips()
    clips = maker(5, replace(STAGE, world={"objects": (2, 3)}))
    assert clips.frames.dtype == torch.uint8 and clips.frames.shape == (2, 6, 3, 32, 32)
    assert clips.xy.shape == (2, 8, 6, 2) and clips.visible.dtype == torch.bool
    assert clips.visible.gather(2, clips.query_frame[..., None]).all()
    again = maker(5, replace(STAGE, world={"objects": (2, 3)}))
    assert torch.equal(clips.frames, again.frames) and torch.equal(clips.xy, again.xy)


@pytest.mark.slow
def test_worlds_made_in_other_processes_are_the_same() -> None:
    ours, theirs = batches(CONFIG, squares, 1), batches(CONFIG, squares, 1, workers=2)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.frames, b.frames) and torch.equal(a.xy, b.xy)


# ---- runs


def weights_of(run: TrainingRun) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in run.tensors().items()}


def test_two_slices_are_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_PART", 5000)  # several files
    whole = weights_of(train(tmp_path / "whole", CONFIG, squares, CPU, SliceSchedule(log_every=1)))
    train(tmp_path / "cut", CONFIG, squares, CPU, SliceSchedule(until=3, log_every=1))
    assert len(list((tmp_path / "cut" / STATE).glob("part-*.bin"))) > 3
    config = TrainConfig.from_json((tmp_path / "cut" / "config.json").read_text())
    assert config == CONFIG
    torch.rand(7)  # whatever else happens to random numbers
    cut = weights_of(train(tmp_path / "cut", config, squares, CPU, SliceSchedule(log_every=1)))
    assert cut.keys() == whole.keys()
    assert all(torch.equal(cut[name], whole[name]) for name in whole)

    def curve(run: str) -> list[list[str]]:
        with (tmp_path / run / LOG).open() as file:
            rows = list(csv.DictReader(file))
        return [[v for k, v in row.items() if k != "seconds"] for row in rows]

    assert curve("cut") == curve("whole") and len(curve("cut")) == CONFIG.steps


def test_files_of_the_state_are_small() -> None:
    assert state._PART * 4 < 16e6


def test_it_learns(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=30, uses=30, stages=(replace(STAGE, points=16, chained=0.0),), rate=5e-3)
    train(tmp_path, config, squares, CPU, SliceSchedule(log_every=10))
    with (tmp_path / LOG).open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert [row["step"] for row in rows] == [10, 20, 30]
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"] and rows[-1]["d_avg"] > rows[0]["d_avg"]


def test_two_windows_are_scored_where_points_have_begun() -> None:
    network = TrainingRun(CONFIG, CPU).network
    for chained in (False, True):
        parts, share = forward(network, squares(1, STAGE).to(CPU), LossConfig(objectness=0.15), chained)
        assert set(parts) == {"position", "fine", "visibility", "error", "objectness", "search", "match"}
        assert all(value.isfinite() for value in parts.values()) and 0 <= share <= 1
        network.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_the_mean_weights_lag_behind() -> None:
    run = TrainingRun(replace(CONFIG, ema=0.9), CPU)
    name, parameter = next(iter(run.network.named_parameters()))
    expected = parameter.detach().clone()
    for step, clips in zip(range(3), batches(CONFIG, squares, 0), strict=False):
        run.advance(clips.to(CPU))
        share = 1 - min(0.9, (1 + step) / (10 + step))
        expected += share * (parameter.detach() - expected)
    torch.testing.assert_close(run.mean[name], expected)
    assert torch.equal(run.mean_network().state_dict()[name], run.mean[name])


def test_the_rate_rises_and_falls_to_nothing() -> None:
    config = replace(CONFIG, steps=100, warmup=10, rate=1.0)
    rates = [rate_at(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) > 0.97 and rates[100] == pytest.approx(0)
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_stages_follow_each_other() -> None:
    config = replace(CONFIG, stages=(replace(STAGE, share=1), replace(STAGE, share=3, side=64)), steps=8)
    assert [config.stage(step).side for step in range(8)] == [32, 32, 64, 64, 64, 64, 64, 64]
    for preset in PRESETS.values():
        assert TrainConfig.from_json(preset.as_json()) == preset


def doubled(team: ProcessTeam, folder: str) -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.full((3,), float(team.rank))
    team.average([parameter])
    assert team.agree(team.leads)
    (Path(folder) / str(team.rank)).write_text(str(parameter.grad.tolist()))


@pytest.mark.slow
def test_a_team_takes_the_mean_gradient(tmp_path: Path) -> None:
    together(2, doubled, str(tmp_path))
    assert [(tmp_path / str(i)).read_text() for i in range(2)] == ["[0.5, 0.5, 0.5]"] * 2


# ---- validation


class Still(PointTracker):
    """Says that points rest, and are always seen."""

    def encode(self, frames: Tensor) -> Features:
        return Features({"frames": frames}, (frames.shape[-2], frames.shape[-1]))

    def open(self, queries: Tensor, size: tuple[int, int]) -> Tensor:
        return queries

    def advance(self, state: Tensor, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        raise AssertionError("not asked for")

    def track(self, frames: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        xy = queries[:, :, None, :2].repeat(1, 1, frames.shape[1], 1)
        return xy, torch.ones_like(xy[..., 0])


class Knows(Still):
    """Says what is true."""

    def __init__(self, clips: Clips) -> None:
        self.clips = clips

    def track(self, frames: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        return self.clips.xy, self.clips.visible.float()


def test_scores() -> None:
    clips = squares(2, CurriculumStage(1.0, 64, 12, 1, 24))
    right = score(Knows(clips), [clips])
    assert right["AJ"] == right["d_avg"] == right["OA"] == right["d1"] == right["d_hidden"] == 1
    assert right["error_visible"] == 0
    still = score(Still(), [clips])
    assert still["AJ"] < still["d_avg"] < 1 and still["error_visible"] > 0


def test_the_threshold_that_scores_best() -> None:
    clips = squares(2, CurriculumStage(1.0, 64, 12, 1, 24))
    tracker = EmbeddedTracker(TrainingRun(CONFIG, CPU).mean_network(), EmbeddedOptions((64, 64)))

    def track(frames: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        return clips.xy, 0.3 + 0.05 * clips.visible.float()

    tracker.track = track  # type: ignore[method-assign]
    assert calibrate(tracker, [clips]) in (0.3, pytest.approx(0.3))
    assert tracker.network.threshold == 0.5


def test_validation_keeps_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch = Validator(squares, ValidationSet(clips=1, side=32, frames=6, points=4))
    train(tmp_path, replace(CONFIG, steps=2), squares, CPU, SliceSchedule(validate_every=1), watch)
    rows = (tmp_path / VALIDATION).read_text().splitlines()
    assert len(rows) == 3 and "d_avg" in rows[0]
    assert (tmp_path / BEST / "index.json").exists()
    for more in ([], ["--last"]):
        file = tmp_path / "w.safetensors"
        assert commands.main(["export", str(tmp_path), "-o", str(file), *more]) == 0
        assert load_weights(file).size == TINY
        assert len(capsys.readouterr().out.split()[0]) == 64
    (tmp_path / LOG).write_text("step,d_avg\n1,0.2\n2,nan\n")
    assert commands.main(["curve", str(tmp_path), "-o", str(tmp_path / "curve.png")]) == 0
    assert cv2.imread(str(tmp_path / "curve.png")).shape == (420, 900, 3)
    assert commands.main(["curve", str(tmp_path / "none"), "-o", str(tmp_path / "none.png")]) == 1


@pytest.mark.usefixtures("quick_pool")
def test_the_command_line_trains_and_validates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(CONFIG.as_json())
    run = ["train", str(tmp_path / "run"), "--config", str(tmp_path / "config.json"), "--device", "cpu"]
    assert commands.main([*run, "--until", "1"]) == 0
    assert commands.main([*run, "--until", "2", "--steps", "9"]) == 0
    assert TrainConfig.from_json((tmp_path / "run" / "config.json").read_text()).steps == 9
    assert commands.main(["validate", "lk", "--clips", "1", "--side", "64", "--frames", "4", "--points", "4"]) == 0
    assert '"d_avg"' in capsys.readouterr().out
    held = ["--clips", "2", "--side", "64", "--frames", "7", "--points", "4"]
    assert commands.main(["show", "lk", *held, "-o", str(tmp_path / "sheet.png")]) == 0
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (2 * 64, 6 * 64, 3)


def test_the_estimate_is_a_tuple_of_three() -> None:
    assert TrackimeSEstimate._fields == ("xy", "visibility", "error")


def test_thinned_clips_show_the_same_points() -> None:
    clips = replace(squares(3, replace(STAGE, frames=12)))
    generator = torch.Generator().manual_seed(0)
    kinds = set()
    for _ in range(12):
        thin = data._thin(clips, 5, generator)
        assert thin.frames.shape[1] == thin.xy.shape[2] == thin.masks.shape[1] == 5
        # Which of the frames were taken: they are in order, and the points in them are where they were.
        taken = [int((clips.frames[0] == frame).flatten(1).all(1).nonzero()[0]) for frame in thin.frames[0]]
        assert taken == sorted(set(taken))
        kinds.add(tuple(b - a for a, b in pairwise(taken)))
        for b in range(len(clips.xy)):
            for xy, visible, query in zip(thin.xy[b], thin.visible[b], thin.query_frame[b], strict=True):
                same = (clips.xy[b][:, taken] == xy).all(-1).all(-1)
                assert same.any() and visible[query]
                assert (clips.visible[b][same][:, taken] == visible).all(-1).any()
    assert (1, 1, 1, 1) in kinds and (2, 2, 2, 2) in kinds and any(len(set(steps)) > 1 for steps in kinds)


def test_what_is_far_out_of_the_frame_costs_nothing() -> None:
    there = truth()
    far = there.xy.clone()
    far[0, 0, 2] = 1e9
    hidden = there.visible.clone()
    hidden[0, 0, 2] = False
    away = replace(there, xy=far, visible=hidden)
    value = losses.huber(there.xy, away, LossConfig())
    assert float(value) == 0
    # Beside the frame hidden points still count.
    far[0, 0, 2] = 40
    assert float(losses.huber(there.xy, replace(away, xy=far), LossConfig())) > 0
