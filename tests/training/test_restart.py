"""Warm restarts, worlds with bodies and on disk, and the end of a slice by a signal."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.trackers.squares import squares
from trackime.errors import InputError
from trackime.trackers import load_weights, save_weights
from trackime.trackers.networks import NetworkSize
from trackime.training import WorldClips
from trackime.training._config import CurriculumStage, TrainConfig
from trackime.training._loop import STATE, VALIDATION, SliceSchedule, TrainingRun, train
from trackime.training._state import load_state
from trackime.training.data import Clips

TINY = NetworkSize((8, 8, 16, 16), (1, 1, 1), 16, 32, 2, 2, window=6, overlap=2)
STAGE = CurriculumStage(1.0, 32, 6, 2, 8)
CONFIG = TrainConfig(size=TINY, stages=(STAGE,), steps=4, warmup=1, bf16=False)
CPU = torch.device("cpu")


def test_a_run_starts_from_exported_weights(tmp_path: Path) -> None:
    other = TrainingRun(replace(CONFIG, seed=5), CPU).mean_network()
    save_weights(other, tmp_path / "weights.safetensors")
    start = load_weights(tmp_path / "weights.safetensors")
    train(tmp_path / "run", CONFIG, squares, CPU, SliceSchedule(until=0), start=start)
    state, _ = load_state(tmp_path / "run" / STATE)
    for name, value in start.state_dict().items():
        assert torch.equal(state[f"weight.{name}"], value) and torch.equal(state[f"mean.{name}"], value)
    # A run that exists goes on with its own.
    train(tmp_path / "run", CONFIG, squares, CPU, SliceSchedule(until=1), start=start)
    assert load_state(tmp_path / "run" / STATE)[1]["step"] == 1


def test_weights_of_another_size_are_refused() -> None:
    other = TrainingRun(replace(CONFIG, size=replace(TINY, window=8)), CPU).mean_network()
    with pytest.raises(InputError, match="expected weights of a network of"):
        TrainingRun(CONFIG, CPU).start_from(other)


def test_sigterm_ends_a_slice_with_its_state(tmp_path: Path) -> None:
    def make(seed: int, stage: CurriculumStage) -> Clips:
        if seed % 10 == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return squares(seed, stage)

    before = signal.getsignal(signal.SIGTERM)
    try:
        run = train(tmp_path, CONFIG, make, CPU, SliceSchedule())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert run.step == 3 and load_state(tmp_path / STATE)[1]["step"] == 3


def test_real_video_chooses_the_weights(tmp_path: Path) -> None:
    scores = iter([{"d_avg": 0.1, "pck": 0.6}, {"d_avg": 0.9, "pck": 0.5}])

    def validate(network: nn.Module) -> dict[str, float]:
        return next(scores)

    run = train(tmp_path, CONFIG, squares, CPU, SliceSchedule(validate_every=2), validate)
    assert run.best == 0.6 and "pck" in (tmp_path / VALIDATION).read_text()


def test_batches_are_kept_on_disk(tmp_path: Path) -> None:
    worlds = WorldClips(cache=str(tmp_path), kept=2)
    first, second, third = (worlds(seed, STAGE) for seed in (0, 1, 2))
    assert len(list(tmp_path.iterdir())) == 2
    assert torch.equal(first.frames, third.frames) and torch.equal(first.xy, third.xy)
    assert not torch.equal(first.frames, second.frames)
    other = worlds(0, replace(STAGE, points=4))
    assert other.xy.shape[1] == 4 and len(list(tmp_path.iterdir())) == 3


def test_bodies_take_their_share() -> None:
    clips = WorldClips()(3, replace(STAGE, bodies=1.0))
    assert clips.frames.shape == (2, 6, 3, 32, 32) and clips.frames.dtype == torch.uint8
    assert clips.xy.shape == (2, 8, 6, 2) and clips.visible.dtype == torch.bool
    at = clips.visible.gather(2, clips.query_frame[..., None])
    assert at.all()
    layers = WorldClips()(3, STAGE)
    assert not torch.equal(clips.frames, layers.frames)
