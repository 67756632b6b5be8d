"""PIPs++: the network against what the authors' code made of the same weights, its windows, and its visibility."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.golden import vectors
from tests.trackers.particles import OraclePips2, grey, network, video
from trackime import trackers
from trackime.errors import InputError
from trackime.trackers import chunk_spans
from trackime.trackers.networks import build_pyramid
from trackime.trackers.networks._lookup import bilinear
from trackime.trackers.networks.correlation import correlate
from trackime.trackers.networks.pips2 import Pips2 as Network
from trackime.trackers.pips2 import _SLACK, Pips2, Pips2Options, _agreement, _interpolate

GOLDEN = vectors("pips2")
LENGTH = len(GOLDEN["video_u8"])


def off(ours: Tensor, name: str, index: object = ...) -> float:
    """Largest difference from a recorded output."""
    recorded = GOLDEN[name][index]  # type: ignore[index]
    assert ours.shape == recorded.shape
    return float(np.abs(ours.numpy() - recorded).max())


@pytest.fixture(scope="module")
def maps() -> Tensor:
    """[12, 16, 20, 128]: features of the recorded clip. The damped weights have the same encoder."""
    plain: Network = network("pips2", damped=False)
    return plain.encode(video("pips2"))


def follow(maps: Tensor, damped: bool, iterations: int, smooth: bool = False) -> Tensor:
    """[I, S, N, 2] positions of the recorded points."""
    module: Network = network("pips2", damped)
    xy = torch.from_numpy(GOLDEN["xy"])
    frames = torch.arange(LENGTH).expand(len(xy), -1)
    descriptor = module.describe(maps, frames[:, 0], xy)
    still = xy[:, None].expand(-1, LENGTH, -1)
    return module(build_pyramid(maps), frames, still, descriptor, iterations, smooth).transpose(1, 2)


# ---- the network


def test_parameters_bear_the_official_names() -> None:
    shapes = {k: list(v.shape) for k, v in network("pips2", damped=False).state_dict().items()}
    assert shapes == json.loads(str(GOLDEN["shapes"]))


def test_features(maps: Tensor) -> None:
    assert off(maps[0, :4, :4, :8].permute(2, 0, 1), "fnet_slice") < 1e-5


@pytest.mark.parametrize("damped", [False, True])
def test_first_update(maps: Tensor, damped: bool) -> None:
    module: Network = network("pips2", damped)
    xy = torch.from_numpy(GOLDEN["xy"])[:1]
    frames = torch.arange(LENGTH)[None]
    place = (xy / module.stride)[:, None].expand(-1, LENGTH, -1)
    descriptors = module.describe(maps, frames[:, 0], xy)[:, None, None].expand(-1, LENGTH, 3, -1)
    found = correlate(build_pyramid(maps), frames, place, descriptors).flatten(2)
    assert off(found[0], "delta_in_fcorr_row0") < 2e-5
    delta = module.delta_block(found, torch.zeros(1, LENGTH, 2))
    assert off(delta[0], "damped_delta_out_row0" if damped else "delta_out_row0") < (2e-6 if damped else 1e-4)


def test_iterations(maps: Tensor) -> None:
    history = follow(maps, damped=False, iterations=2)
    assert off(history[0], "iter_coords_locked", 1) < 1e-3
    assert off(history[1], "iter_coords_locked", 2) < 0.02  # the same code is 0.004 away from itself in float64


def test_damped_iterations(maps: Tensor) -> None:
    history = follow(maps, damped=True, iterations=8)
    for iteration in range(8):
        assert off(history[iteration], "damped_iter_coords_locked", 1 + iteration) < 5e-5 * (1 + iteration)
    past = (torch.arange(LENGTH) - 2).clamp(min=0)
    last = history[-2].transpose(0, 1)[:, past] / 8
    lagged = bilinear(maps, past.expand(len(last), -1), last).transpose(0, 1)
    assert off(lagged[..., :16], "damped_feats2_slice") < 5e-5


def test_smooth_last_steps(maps: Tensor) -> None:
    assert off(follow(maps, True, 8, smooth=True)[-1], "damped_beautify_final") < 5e-4


# ---- windows


@pytest.mark.parametrize("every", [0, 8])
@pytest.mark.parametrize("frames", [10, 21, 60])
def test_windows_follow_on_each_other(frames: int, every: int) -> None:
    oracle = OraclePips2()
    tracker = Pips2(oracle, Pips2Options(input_size=(64, 64), max_frames=frames, check_every=every))
    queries = torch.tensor([[[30.0, 40.0, 0.0], [20.0, 20.0, 2.0], [50.0, 33.0, 41.0], [22.0, 33.0, 49.0]]])
    features = tracker.encode(grey(50))
    state, parts = tracker.open(queries, (64, 64)), []
    for t0, t1 in chunk_spans(50, frames, tracker.overlap):
        xy, visibility, state = tracker.advance(state, features.window(max(0, t0 - tracker.overlap), t1))
        assert xy.shape == (1, 4, t1 - t0, 2)
        parts.append((xy, visibility))
    xy, visibility = torch.cat([p[0] for p in parts], 2), torch.cat([p[1] for p in parts], 2)
    times = torch.arange(50)
    for n, (x, y, t) in enumerate(queries[0].tolist()):
        true = torch.tensor([x, y]) + (times - t).clamp(min=0)[:, None] * oracle.velocity
        torch.testing.assert_close(xy[0, n], true, rtol=0, atol=1e-3)
        torch.testing.assert_close(visibility[0, n], (times >= t).float(), rtol=0, atol=1e-5)
    forward = {descriptor for begin, end, descriptor in oracle.calls if end > begin}
    assert forward == {0, 2, 41}  # always the query frame's


def test_the_state_does_not_grow() -> None:
    tracker = Pips2(OraclePips2(), Pips2Options(input_size=(64, 64), max_frames=12))
    state = tracker.open(torch.tensor([[[30.0, 40.0, 0.0]]]), (64, 64))
    sizes = []
    for t0, t1 in chunk_spans(120, 12, tracker.overlap):
        first = max(0, t0 - tracker.overlap)
        _, _, state = tracker.advance(state, tracker.encode(grey(t1 - first, first)))
        sizes.append(sum(v.numel() for v in vars(state.clips[0]).values()))
    assert len(set(sizes)) == 1


# ---- visibility


def test_agreement_is_a_half_where_the_tracks_are_as_far_apart_as_they_may_be() -> None:
    path = torch.zeros(4, 5, 2)
    back = path.clone()
    back[1, 1:, 0] = _SLACK
    back[2, 1:3] = 100.0  # less than half of the frames: the median does not mind
    back[3, 1:] = 30.0
    found = _agreement(path, back)
    assert found[0] == found[2] == 1
    motion = _SLACK**2  # of `back` since the frame they set out from
    assert found[1].item() == pytest.approx(2 ** -(_SLACK**2 / (_SLACK**2 + 0.01 * motion)))
    assert found[3] < 1e-6


def test_interpolation() -> None:
    found = _interpolate([0, 2, 6, 7], torch.tensor([[1.0, 0.0, 1.0, 0.5]]))
    assert found.tolist() == [[1.0, 0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 0.5]]
    assert _interpolate([0, 1], torch.tensor([[1.0, 0.0]])).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("frames", [16, 60])
def test_a_covered_point_is_hidden(frames: int) -> None:
    covered = range(15, 33)
    tracker = Pips2(
        OraclePips2(hidden=tuple(covered)), Pips2Options(input_size=(64, 64), max_frames=frames, check_every=4)
    )
    query = torch.tensor([[[30.0, 40.0, 0.0]]])
    _, visibility = tracker.track(grey(50), query)
    for t in range(50):
        if min(abs(t - covered.start), abs(t - covered.stop)) > 4:
            assert (visibility[0, 0, t] > 0.5) == (t not in covered), t


def test_what_is_outside_of_the_frame_is_hidden() -> None:
    tracker = Pips2(OraclePips2(velocity=(2.0, 0.0)), Pips2Options(input_size=(64, 64)))
    xy, visibility = tracker.track(grey(20), torch.tensor([[[40.5, 30.5, 0.0]]]))
    assert torch.equal(visibility[0, 0] > 0.5, xy[0, 0, :, 0] <= 64)
    assert (visibility[0, 0, 12:] == 0).all()


@pytest.mark.parametrize("option", ["check_every", "check_span", "check_iterations"])
def test_wrong_checks_are_refused(option: str) -> None:
    with pytest.raises(InputError, match=option):
        Pips2(OraclePips2(), Pips2Options(input_size=(64, 64), **{option: -1}))


# ---- the registered tracker


def test_it_loads_by_path_and_equals_the_recorded_run(tmp_path: Path) -> None:
    file = tmp_path / "reference_model.pth"
    torch.save({"model_state_dict": network("pips2", damped=True).state_dict(), "step": 1}, file)
    tracker = trackers.create(f"pips2:{file}", input_size=(128, 160), iterations=8, check_iterations=1)
    assert tracker.name == "pips2"
    xy = torch.from_numpy(GOLDEN["xy"])
    queries = torch.cat([xy + 0.5, torch.zeros(len(xy), 1)], 1)[None]
    found, _ = tracker.track(video("pips2")[None], queries)
    assert off(found[0].transpose(0, 1) - 0.5, "damped_iter_coords_locked", -1) < 1e-3


def test_a_window_is_the_network_s_own_run() -> None:
    module: Network = network("pips2", damped=True)
    clip = F.interpolate(video("pips2"), (64, 80), mode="bilinear")
    tracker = Pips2(module, Pips2Options(input_size=(64, 80), iterations=3, check_every=0))
    queries = torch.tensor([[[40.0, 30.0, 0.0], [10.5, 50.0, 5.0]]])
    xy, visibility, _ = tracker.advance(tracker.open(queries, (64, 80)), tracker.encode(clip[None]))
    maps = module.encode(clip)
    for n, (x, y, t) in enumerate(queries[0].tolist()):
        frames = torch.arange(int(t), LENGTH)[None]
        place = torch.tensor([[x - 0.5, y - 0.5]])
        still = place[:, None].expand(-1, frames.shape[1], -1)
        path = module(build_pyramid(maps), frames, still, module.describe(maps, frames[:, 0], place), 3)[-1, 0]
        torch.testing.assert_close(xy[0, n, int(t) :], path + 0.5, rtol=0, atol=1e-4)
    assert torch.equal(visibility[0, 1], (torch.arange(LENGTH) >= 5).float())
