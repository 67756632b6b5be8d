"""PIPs: the network against what the authors' code made of the same weights, and the chaining of its windows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.golden import vectors
from tests.trackers.particles import OraclePips, grey, network, video
from trackime import trackers
from trackime.trackers import chunk_spans
from trackime.trackers.networks import build_pyramid
from trackime.trackers.networks._lookup import bilinear
from trackime.trackers.networks.correlation import correlate
from trackime.trackers.networks.pips import FRAMES
from trackime.trackers.networks.pips import Pips as Network
from trackime.trackers.pips import Pips, PipsOptions, _next_begin

GOLDEN = vectors("pips")


def off(ours: Tensor, name: str, index: object = ...) -> float:
    """Largest difference from a recorded output."""
    recorded = GOLDEN[name][index]  # type: ignore[index]
    assert ours.shape == recorded.shape
    return float(np.abs(ours.numpy() - recorded).max())


@pytest.fixture(scope="module")
def maps() -> Tensor:
    """[8, 32, 40, 128]: features of the recorded clip. The damped weights have the same encoder."""
    plain: Network = network("pips", damped=False)
    return plain.encode(video("pips"))


@pytest.fixture
def run(maps: Tensor) -> Callable[[bool, int], tuple[Tensor, Tensor]]:
    def follow(damped: bool, iterations: int) -> tuple[Tensor, Tensor]:
        module: Network = network("pips", damped)
        xy = torch.from_numpy(GOLDEN["xy"])
        frames = torch.arange(FRAMES).expand(len(xy), -1)
        descriptor = module.describe(maps, frames[:, 0], xy)
        history, logits = module(build_pyramid(maps), frames, xy, descriptor, iterations)
        return history.transpose(1, 2), logits.T  # [I, S, N, 2], [S, N] as recorded

    return follow


# ---- the network


def test_parameters_bear_the_official_names() -> None:
    shapes = {k: list(v.shape) for k, v in network("pips", damped=False).state_dict().items()}
    assert shapes == json.loads(str(GOLDEN["shapes"]))


def test_features(maps: Tensor) -> None:
    assert off(maps[0, :4, :4, :8].permute(2, 0, 1), "fnet_slice") < 1e-5


@pytest.mark.parametrize("damped", [False, True])
def test_first_update(maps: Tensor, damped: bool) -> None:
    module: Network = network("pips", damped)
    xy = torch.from_numpy(GOLDEN["xy"])[:1]
    frames = torch.arange(FRAMES)[None]
    descriptor = module.describe(maps, frames[:, 0], xy)[:, None].expand(-1, FRAMES, -1)
    place = (xy / module.stride)[:, None].expand(-1, FRAMES, -1)
    found = correlate(build_pyramid(maps), frames, place, descriptor[:, :, None])[:, :, 0]
    assert off(found[0], "delta_in_fcorr_row0") < 2e-5
    times = torch.linspace(0, FRAMES, FRAMES)
    motion = torch.stack([0 * times, 0 * times, times], -1)[None]
    delta = module.delta_block(descriptor, found, motion)
    assert off(delta[0], "damped_delta_out_row0" if damped else "delta_out_row0") < (1e-6 if damped else 1e-4)


def test_iterations(run: Callable[[bool, int], tuple[Tensor, Tensor]]) -> None:
    history, _ = run(False, 2)
    assert off(history[0], "iter_coords", 0) < 1e-4
    assert off(history[1], "iter_coords", 1) < 0.1  # the same code is 0.025 away from itself in float64


def test_damped_iterations(run: Callable[[bool, int], tuple[Tensor, Tensor]]) -> None:
    history, logits = run(True, 6)
    for iteration in range(6):
        assert off(history[iteration], "damped_iter_coords", iteration) < 1e-4 * (1 + iteration)
    assert off(logits, "damped_vis_logits") < 5e-5


def dense_correlation(pyramid: list[Tensor], frames: Tensor, xy: Tensor, descriptors: Tensor) -> Tensor:
    """`correlate` by whole cost volumes, a point, frame and descriptor at a time."""
    n, s, k, c = descriptors.shape
    steps = torch.arange(-3.0, 4.0)
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1)  # the first axis moves x
    out = torch.zeros(n, s, k, len(pyramid), 49)
    for i, j, d in np.ndindex(n, s, k):
        for level, maps in enumerate(pyramid):
            cost = maps[frames[i, j]] @ descriptors[i, j, d] / c**0.5
            h, w = cost.shape
            place = xy[i, j] / 2**level + offsets + 0.5
            grid = 2 * place / torch.tensor([w, h]) - 1
            found = F.grid_sample(cost[None, None], grid[None], padding_mode="zeros", align_corners=False)
            out[i, j, d, level] = found.flatten()
    return out.flatten(3)


def test_correlation_is_that_of_the_whole_cost_volume() -> None:
    rng = torch.Generator().manual_seed(0)
    pyramid = build_pyramid(torch.randn(3, 8, 13, 16, generator=rng))
    assert [tuple(p.shape[1:3]) for p in pyramid] == [(8, 13), (4, 6), (2, 3), (1, 1)]
    frames = torch.randint(3, (40, 2), generator=rng)
    xy = torch.rand(40, 2, 2, generator=rng) * torch.tensor([30.0, 24.0]) - 8
    xy[:3, 0] = torch.tensor([[0.0, 0.0], [12.0, 7.0], [-1e9, 1e9]])
    descriptors = torch.randn(40, 2, 2, 16, generator=rng)
    ours = correlate(pyramid, frames, xy, descriptors)
    torch.testing.assert_close(ours, dense_correlation(pyramid, frames, xy, descriptors), rtol=0, atol=1e-5)


def test_descriptors_are_bilinear_and_end_at_the_border() -> None:
    maps = torch.arange(12.0).view(1, 3, 4, 1)
    xy = torch.tensor([[[1.0, 2.0], [1.5, 0.5], [3.0, 2.0], [-5.0, 1.0], [9.0, 9.0]]])
    found = bilinear(maps, torch.zeros(1, 5, dtype=torch.long), xy)
    assert found.flatten().tolist() == [9.0, 3.5, 11.0, 4.0, 11.0]


# ---- the chaining


@pytest.mark.parametrize(
    ("visibility", "expected"),
    [
        ([1, 1, 1, 1, 1, 1, 1, 1], 7),
        ([1, 1, 1, 0.95, 0.2, 0.1, 0.1, 0.1], 3),
        ([1, 1, 0.95, 0.91, 0.89, 0.1, 0.1, 0.89], 3),
        ([1, 1, 0.87, 0.87, 0.5, 0.87, 0.85, 0], 5),
        ([1, 1, 0.861, 0.5, 0.5, 0.5, 0.5, 0.5], 2),
        ([1, 0.99, 0.05, 0.03, 0.03, 0.01, 0.01, 0.01], 2),
        ([0, 0, 0, 0, 0, 0, 0, 0], 7),
    ],
)
def test_where_the_next_window_begins(visibility: list[float], expected: int) -> None:
    assert _next_begin(torch.tensor([visibility, visibility])).tolist() == [expected] * 2


def slowly(module: Network, maps: Tensor, xy: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """One point [2] through a clip, in the authors' order; a whole window that ends where the clip does is the last."""
    length = len(maps)
    path, seen = xy.repeat(length, 1), torch.zeros(length)
    descriptor = module.describe(maps, torch.tensor([start]), xy[None])
    now = start
    while now < length - 1:
        frames = torch.tensor([[min(t, length - 1) for t in range(now, now + 8)]])
        history, logits = module(build_pyramid(maps), frames, path[now][None], descriptor, 2)
        end = min(length, now + 8)
        path[now:end] = history[-1, 0, : end - now]
        visible = torch.sigmoid(logits[0])
        seen[now + 1 : end] = visible[1 : end - now]
        if now + 8 >= length:
            break
        threshold = 0.9
        while not (late := [s for s in range(2, 8) if visible[s] > threshold]):
            threshold -= 0.02
        now += late[-1]
    return path, seen


@pytest.fixture
def tracker() -> Pips:
    return Pips(network("pips", damped=True), PipsOptions(input_size=(64, 80), iterations=2, max_frames=20))


@pytest.fixture(scope="module")
def long_clip() -> Tensor:
    """float [1, 20, 3, 64, 80]: the recorded clip, to and fro."""
    clip = F.interpolate(video("pips"), (64, 80), mode="bilinear")
    return torch.cat([clip, clip.flip(0), clip])[None, :20]


def test_a_long_clip_is_chained(tracker: Pips, long_clip: Tensor) -> None:
    queries = torch.tensor([[[40.0, 30.0, 0.0], [10.5, 50.0, 0.0], [60.0, 20.0, 4.0], [30.0, 30.0, 15.0]]])
    xy, visibility, _ = tracker.advance(tracker.open(queries, (64, 80)), tracker.encode(long_clip))
    maps = tracker.network.encode(long_clip[0])
    for n, (x, y, t) in enumerate(queries[0].tolist()):
        path, seen = slowly(tracker.network, maps, torch.tensor([x, y]) - 0.5, int(t))
        later = slice(int(t) + 1, None)
        torch.testing.assert_close(xy[0, n, later], path[later] + 0.5, rtol=0, atol=1e-3)
        torch.testing.assert_close(visibility[0, n, later], seen[later], rtol=0, atol=1e-4)


@pytest.mark.parametrize("frames", [9, 12, 60])
@pytest.mark.parametrize("hidden", [(), (3, 4), tuple(range(10, 25))])
def test_windows_follow_on_each_other(frames: int, hidden: tuple[int, ...]) -> None:
    oracle = OraclePips(hidden=hidden)
    tracker = Pips(oracle, PipsOptions(input_size=(64, 64), max_frames=frames))
    queries = torch.tensor([[[30.0, 40.0, 0.0], [20.0, 20.0, 2.0], [50.0, 33.0, 41.0]]])
    features = tracker.encode(grey(50))
    state, parts = tracker.open(queries, (64, 64)), []
    for t0, t1 in chunk_spans(50, frames, tracker.overlap):
        xy, visibility, state = tracker.advance(state, features.window(max(0, t0 - tracker.overlap), t1))
        assert xy.shape == (1, 3, t1 - t0, 2)
        parts.append((xy, visibility))
    xy, visibility = torch.cat([p[0] for p in parts], 2), torch.cat([p[1] for p in parts], 2)
    times = torch.arange(50)
    for n, (x, y, t) in enumerate(queries[0].tolist()):
        true = torch.tensor([x, y]) + (times - t).clamp(min=0)[:, None] * oracle.velocity
        torch.testing.assert_close(xy[0, n], true, rtol=0, atol=1e-3)
        expected = (times >= t) & ~torch.isin(times, oracle.hidden)
        assert torch.equal(visibility[0, n] > 0.5, expected)
        assert visibility[0, n, int(t)] == 1
        assert (visibility[0, n, : int(t)] == 0).all()
    assert {descriptor for _, _, descriptor in oracle.calls} == {0, 2, 41}  # always the query frame's
    if len(hidden) < 7:  # whole windows begin where the point is seen
        assert not {begin for begin, end, _ in oracle.calls if end - begin == 7} & set(hidden)


def test_the_state_does_not_grow() -> None:
    tracker = Pips(OraclePips(), PipsOptions(input_size=(64, 64), max_frames=12))
    state = tracker.open(torch.tensor([[[30.0, 40.0, 0.0]]]), (64, 64))
    sizes = []
    for t0, t1 in chunk_spans(120, 12, tracker.overlap):
        first = max(0, t0 - tracker.overlap)
        _, _, state = tracker.advance(state, tracker.encode(grey(t1 - first, first)))
        sizes.append(sum(v.numel() for v in vars(state.clips[0]).values()))
    assert len(set(sizes)) == 1


# ---- the registered tracker


def test_it_loads_by_path_and_equals_the_recorded_run(tmp_path: Path) -> None:
    file = tmp_path / "reference_model.pth"
    torch.save({"model_state_dict": network("pips", damped=True).state_dict(), "step": 1}, file)
    tracker = trackers.create(f"pips:{file}", input_size=(128, 160))
    assert tracker.name == "pips"
    xy = torch.from_numpy(GOLDEN["xy"])
    queries = torch.cat([xy + 0.5, torch.zeros(len(xy), 1)], 1)[None]
    found, visibility = tracker.track(video("pips")[None], queries)
    assert off(found[0].transpose(0, 1) - 0.5, "damped_iter_coords", -1) < 1e-3
    inside = ((found[0] >= 0) & (found[0] <= torch.tensor([160.0, 128.0]))).all(-1)
    recorded = torch.sigmoid(torch.from_numpy(GOLDEN["damped_vis_logits"]).T) * inside
    torch.testing.assert_close(visibility[0, :, 1:], recorded[:, 1:], rtol=0, atol=1e-4)
