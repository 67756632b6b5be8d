"""CoTracker3 against what the authors' code made of the same weights, and the adapter's own promises.

`atol` of the recorded values is a few times how far the authors' code moves between float32 and float64.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.golden import filled, vectors
from trackime import trackers
from trackime.checkpoints import fill
from trackime.errors import FormatError, InputError, ShapeError
from trackime.ime._drive import View, drive
from trackime.trackers import cotracker
from trackime.trackers.cotracker import CoTracker, CoTrackerOptions
from trackime.trackers.networks import CoTracker3, as_level
from trackime.trackers.networks._motion import encode_motion
from trackime.trackers.networks.cotracker import CoTrackerEstimate, correlation

SIZE = (96, 128)
SMALL = (48, 64)
WINDOWS = {"cotracker3_offline": 60, "cotracker3_online": 16}


@pytest.fixture(scope="module")
def networks() -> dict[str, CoTracker3]:
    """Both with the recorded weights, the time embeddings as built."""
    made = {name: CoTracker3(window) for name, window in WINDOWS.items()}
    state = filled(made["cotracker3_offline"], {"time_emb"})  # names and shapes are shared but for one
    for name, network in made.items():
        fill(network, state | {"time_emb": network.time_emb.clone()}, name)
    return made


@pytest.fixture
def offline(networks: dict[str, CoTracker3]) -> CoTracker:
    return CoTracker(networks["cotracker3_offline"], CoTrackerOptions(False, 64, 2, SMALL, 6, 2, iterations=1))


@pytest.fixture
def online(networks: dict[str, CoTracker3]) -> CoTracker:
    return CoTracker(networks["cotracker3_online"], CoTrackerOptions(True, 64, 2, SMALL, 4, 1, iterations=1))


def make(tracker: CoTracker, **changed: Any) -> CoTracker:
    """The same with other options."""
    now = {"online": tracker.online, "query_chunk": tracker.query_chunk, "support_grid": tracker.support_grid}
    now |= {"input_size": tracker.input_size, "window": tracker.max_frames, "overlap": tracker.overlap}
    now |= {"iterations": tracker.iterations}
    return CoTracker(tracker.network, CoTrackerOptions(**(now | changed)))


def video(frames: int, size: tuple[int, int] = SMALL, batch: int = 1, seed: int = 0) -> Tensor:
    """[batch, frames, 3, h, w]: smooth noise that drifts."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, max(2, size[0] // 4), max(2, (size[1] + 2 * frames) // 4), generator=rng)
    wide = F.interpolate(coarse, (size[0], size[1] + 2 * frames), mode="bicubic").clamp(0, 1)
    return torch.stack([wide[..., 2 * t : 2 * t + size[1]] for t in range(frames)], 1)


QUERIES = torch.tensor([[[20.5, 10.5, 0], [40.2, 30.7, 3], [10.0, 40.0, 1]]])


# ---- the recorded values


def close(ours: Tensor, recorded: np.ndarray, atol: float) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(recorded), rtol=0, atol=atol)


@torch.no_grad()
def check_stages(network: CoTracker3, data: dict[str, np.ndarray], first: int) -> None:
    """Everything up to the transformer's first answer, on the first `first` frames."""
    frames, queries = clip(data), torch.from_numpy(data["queries_txy"])[None]
    close(network.fnet(2 * frames[0, :1] - 1)[0, :8, :4, :4], data["fnet_raw_slice"], 8e-6)
    maps = network.encode(frames[0, :first])
    close(maps[0][0, :4, :4, :8].permute(2, 0, 1), data["fmap_norm_slice"], 1e-6)
    levels = [as_level(m[None]) for m in maps]
    xy, t = queries[..., 1:], queries[..., 0].long()
    support = network.support(levels, xy, t.clamp(max=first - 1))
    support = [scale * (t < first)[..., None, None] for scale in support]
    zeros = torch.zeros(1, len(xy[0]), first)
    now = CoTrackerEstimate(xy[:, :, None].expand(-1, -1, first, -1), zeros, zeros)
    times = torch.arange(first)
    close(
        correlation(levels[0], support[0][:, :1], xy[:, :1, None] / 4, times[:1])[0, 0, 0],
        data["corr_in_lvl0_row0"],
        5e-6,
    )
    embedded = network.correlate(levels, support, now.xy, times)
    close(embedded[0, :, 0, :16], data["corr_emb_lvl0_rows"], 2e-6)
    tokens = network.tokens(embedded, now, network.time_embedding(first))
    ends = torch.cat([tokens[0, :, :3, :20], tokens[0, :, :3, -20:]], -1)
    close(ends.flatten(0, 1), data["updateformer_in_slice"], 3e-6)
    close(network.updateformer(tokens)[0], data["updateformer_out_iter0"], 2e-5)


def clip(data: dict[str, np.ndarray]) -> Tensor:
    return torch.from_numpy(data["video_u8"]).permute(0, 3, 1, 2)[None].float() / 255


def spied(tracker: CoTracker, monkeypatch: pytest.MonkeyPatch) -> list[CoTrackerEstimate]:
    """Every estimate the network will make."""
    log: list[CoTrackerEstimate] = []
    refine = tracker.network.refine
    monkeypatch.setattr(tracker.network, "refine", lambda *a: log.append(refine(*a)) or log[-1])
    return log


def check_estimate(now: CoTrackerEstimate, data: dict[str, np.ndarray], head: str, k: int, atol: float) -> None:
    close(now.xy[0].transpose(0, 1), data[f"{head}coords"][k], atol)
    close(now.visibility[0].T.sigmoid(), data[f"{head}vis"][k], 1e-5)
    close(now.confidence[0].T.sigmoid(), data[f"{head}conf"][k], 1e-5)


def as_queries(data: dict[str, np.ndarray]) -> Tensor:
    """[1, N, 3] (x, y, t), centres at a half."""
    t, x, y = torch.from_numpy(data["queries_txy"]).unbind(-1)
    return torch.stack([x + 0.5, y + 0.5, t], -1)[None]


@pytest.mark.parametrize("name", WINDOWS)
def test_names_and_shapes_are_the_checkpoints(networks, name):
    shapes = {key: list(value.shape) for key, value in networks[name].state_dict().items()}
    assert shapes == json.loads(str(vectors(name)["state_dict"]))


@pytest.mark.parametrize(("name", "frames"), [("cotracker3_offline", 10), ("cotracker3_online", 16)])
def test_stages(networks, name, frames):
    check_stages(networks[name], vectors(name), frames)


def test_offline_is_the_authors(networks, monkeypatch):
    data = vectors("cotracker3_offline")
    tracker = CoTracker(
        networks["cotracker3_offline"], CoTrackerOptions(False, support_grid=0, input_size=SIZE, iterations=4)
    )
    log = spied(tracker, monkeypatch)
    queries = as_queries(data)
    xy, visibility = tracker.track(clip(data), queries)
    assert len(log) == 4  # both directions in one run
    for k, (now, atol) in enumerate(zip(log, (5e-5, 1e-4, 2e-4, 4e-4), strict=True)):
        check_estimate(now, data, "iter_", k, atol)
    recorded, visible = torch.from_numpy(data["coords"] + 0.5).transpose(0, 1), torch.from_numpy(data["vis"].T > 0.9)
    at = torch.arange(10) == queries[0, :, 2:]
    torch.testing.assert_close(xy[0][~at], recorded[~at], rtol=0, atol=1e-3)
    assert torch.equal((visibility[0] > 0.5)[~at], visible[~at])
    assert 0 < visible.float().mean() < 1
    assert torch.equal(xy[0][at], queries[0, :, :2]) and (visibility[0][at] == 1).all()


def test_online_is_the_authors_window_by_window(networks, monkeypatch):
    data = vectors("cotracker3_online")
    tracker = CoTracker(
        networks["cotracker3_online"],
        CoTrackerOptions(True, support_grid=0, input_size=SIZE, window=16, overlap=8, iterations=4),
    )
    log = spied(tracker, monkeypatch)
    queries, features = as_queries(data), tracker.encode(clip(data))
    state = tracker.open(queries, SIZE)
    told_xy, told_visibility = torch.zeros(6, 24, 2), torch.zeros(6, 24)
    for w, (t0, t1) in enumerate([(0, 16), (8, 24)]):
        log.clear()
        xy, visibility, state = tracker.advance(state, features.window(t0, t1))
        told_xy[:, t0:t1], told_visibility[:, t0:t1] = xy[0], visibility[0]
        for k, now in enumerate(log):
            check_estimate(now, data, f"win{w}_iter_", k, 1e-3 if w else (5e-5, 1e-4, 2e-4, 4e-4)[k])
        # What was said so far, with the overlap told anew.
        times = torch.arange(t1)
        after = times > queries[0, :, 2:]
        recorded = torch.from_numpy(data[f"stream_after{w}_coords"] + 0.5).transpose(0, 1)
        torch.testing.assert_close(told_xy[:, :t1][after], recorded[after], rtol=0, atol=1e-3)
        sure = torch.from_numpy((data[f"stream_after{w}_vis"] * data[f"stream_after{w}_conf"]).T)
        assert torch.equal((told_visibility[:, :t1] > 0.5)[after], sure[after] > 0.6)
    torch.testing.assert_close(
        told_xy[after], torch.from_numpy(data["coords"].swapaxes(0, 1) + 0.5)[after], atol=1e-3, rtol=0
    )


# ---- slow references


def test_correlation_is_bilinear_sampling():
    rng = torch.Generator().manual_seed(1)
    maps = torch.randn(2, 3, 5, 7, 128, generator=rng)
    xy = torch.rand(2, 4, 3, 2, generator=rng) * 16 - 5  # some outside
    support = torch.randn(2, 4, 49, 128, generator=rng)
    t = torch.tensor([2, 0, 2])
    ours = correlation(as_level(maps), support, xy, t).view(2, 4, 3, 7, 7, 49)
    # The patch is transposed: its first index moves x.
    reach = torch.arange(-3.0, 4)
    offsets = torch.stack(torch.meshgrid(reach, reach, indexing="ij"), -1)
    for k in range(3):
        places = xy[:, :, k, None, None] + offsets  # [2, 4, 7, 7, 2]
        grid = places.flatten(2, 3) * 2 / torch.tensor([6.0, 4.0]) - 1
        picked = F.grid_sample(maps[:, t[k]].permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=True)
        slow = torch.einsum("bcnp,bnqc->bnpq", picked, support).unflatten(2, (7, 7))
        torch.testing.assert_close(ours[:, :, k], slow, rtol=1e-4, atol=1e-4)


def test_motions_are_zero_at_the_ends_and_signed():
    xy = torch.tensor([[[[0.0, 0.0], [128.0, 0.0], [128.0, 96.0]]]])
    motion = encode_motion(xy, torch.tensor([512.0, 384.0]))[0, 0]
    assert motion.shape == (3, 84)
    assert motion[:, :4].tolist() == [[-0.25, 0, 0, 0], [0, -0.25, 0.25, 0], [0, 0, 0, 0.25]]
    torch.testing.assert_close(motion[1, 4:8], torch.tensor([0, -0.25, 0.25, 0]).sin())
    torch.testing.assert_close(motion[1, 44 + 9 * 4 : 44 + 9 * 4 + 4], (512 * torch.tensor([0, -0.25, 0.25, 0])).cos())


def test_time_embedding_is_interpolated(networks):
    network = networks["cotracker3_offline"]
    table = network.time_emb[0].double().numpy()
    assert np.allclose(table[7, [0, 554, 555]], [np.sin(7), np.sin(7 * 10000 ** (-554 / 555)), np.cos(7)], atol=1e-6)
    assert torch.equal(network.time_embedding(60), network.time_emb[0])
    at = np.clip((np.arange(25) + 0.5) * 60 / 25 - 0.5, 0, 59)
    expected = [np.interp(at, np.arange(60), column) for column in table.T[:40]]
    np.testing.assert_allclose(network.time_embedding(25)[:, :40].T.numpy(), expected, atol=1e-5)


def test_queries_are_scaled_from_corner_to_corner(offline):
    tracker = make(offline, input_size=(384, 512))
    corners = torch.tensor([[0.5, 0.5], [199.5, 99.5]])
    assert tracker._resized(corners, (100, 200)).tolist() == [[0, 0], [511, 383]]
    torch.testing.assert_close(tracker._restored(tracker._resized(corners, (100, 200)), (100, 200)), corners)
    frames = torch.arange(10.0).expand(1, 1, 3, 4, 10) / 9
    resized = F.interpolate(frames[0], (384, 512), mode="bilinear", align_corners=True)
    at = tracker._resized(torch.tensor([[3.5, 0.5]]), (4, 10))[0, 0]
    assert resized[0, 0, 0, round(float(at))].item() == pytest.approx(3 / 9, abs=2e-3)


def test_the_support_grid_spans_the_frame(offline):
    grid = make(offline, support_grid=6, input_size=(384, 512))._grid()
    assert grid.shape == (36, 2)
    assert grid[[0, 5, 30, 35]].tolist() == [[8, 8], [504, 8], [8, 376], [504, 376]]
    torch.testing.assert_close(grid[1], torch.tensor([8 + 496 / 5, 8]))
    assert make(offline, support_grid=0)._grid().shape == (0, 2)


def test_a_half_is_the_published_decision(offline, online):
    v = torch.tensor([0.89, 0.91, 0.5, 0.99])
    c = torch.tensor([0.66, 0.67, 1 - 1e-7, 0.61])
    estimate = CoTrackerEstimate(torch.zeros(1, 1, 4, 2), torch.logit(v)[None, None], torch.logit(c)[None, None])
    assert (offline._visibility(estimate) > 0.5).tolist() == [[(v > 0.9).tolist()]]
    assert (online._visibility(estimate) > 0.5).tolist() == [[(v * c > 0.6).tolist()]]
    sure = CoTrackerEstimate(estimate.xy, torch.full((1, 1, 1), 40.0), torch.full((1, 1, 1), 40.0))
    assert online._visibility(sure).item() > 0.99 and offline._visibility(sure).item() > 0.99


# ---- the adapter


@pytest.mark.parametrize("name", ["offline", "online"])
def test_tracks_are_pinned_and_features_shared(request, name):
    tracker = request.getfixturevalue(name)
    frames = video(4)
    xy, visibility = tracker.track(frames, QUERIES)
    assert xy.shape == (1, 3, 4, 2) and visibility.shape == (1, 3, 4)
    assert xy.isfinite().all() and ((visibility >= 0) & (visibility <= 1)).all()
    for n, (x, y, t) in enumerate(QUERIES[0].tolist()):
        assert xy[0, n, int(t)].tolist() == pytest.approx([x, y])
        assert visibility[0, n, int(t)] == 1
    features = tracker.encode(frames)
    again_xy, again_visibility = tracker.track_features(features, QUERIES)
    assert torch.equal(again_xy, xy) and torch.equal(again_visibility, visibility)
    state_xy, state_visibility, _ = tracker.advance(tracker.open(QUERIES, features.size), features)
    assert (state_visibility[0, 1, :3] == 0).all()
    torch.testing.assert_close(state_xy[0, 1, :3], QUERIES[0, 1, :2].expand(3, 2))
    torch.testing.assert_close(state_xy[0, :, 3:], xy[0, :, 3:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["offline", "online"])
def test_long_videos_go_window_by_window(request, name):
    tracker = request.getfixturevalue(name)
    length = tracker.max_frames + 2
    frames = video(length)
    xy, visibility = tracker.track(frames, QUERIES)
    features = tracker.encode(frames)
    # Forward, as a driver of long videos does: encoded anew, only new frames and the overlap are shown.
    state, told = tracker.open(QUERIES, SMALL), torch.zeros(1, 3, length, 2)
    for t0, t1 in trackers.base.chunk_spans(length, tracker.max_frames, tracker.overlap):
        chunk = tracker.encode(frames[:, max(0, t0 - tracker.overlap) : t1])
        new, _, state = tracker.advance(state, chunk)
        assert new.shape[2] == t1 - max(0, t0 - tracker.overlap)
        told[:, :, t1 - new.shape[2] : t1] = new
    after = torch.arange(length) >= QUERIES[..., 2:]
    torch.testing.assert_close(told[after], xy[after], rtol=0, atol=1e-3)
    # One call with all of them slides the same windows.
    whole, _, _ = tracker.advance(tracker.open(QUERIES, SMALL), features)
    torch.testing.assert_close(whole[after], xy[after], rtol=0, atol=1e-3)
    # Backward is forward on the reversed video.
    mirrored = QUERIES * torch.tensor([1, 1, -1]) + torch.tensor([0, 0, length - 1])
    back, back_visibility, _ = tracker.advance(tracker.open(mirrored, SMALL), features.flip())
    torch.testing.assert_close(back.flip(2)[~after], xy[~after], rtol=0, atol=1e-3)
    torch.testing.assert_close(back_visibility.flip(2)[~after], visibility[~after], rtol=0, atol=1e-4)


def test_the_driver_of_long_videos_says_the_same(offline):
    queries = torch.tensor([[[20.5, 10.5, 0], [40.2, 30.7, 3], [10.0, 40.0, 7]]])
    bytes_ = (video(8) * 255).round().to(torch.uint8)

    class Frames:
        def __len__(self) -> int:
            return 8

        def read(self, t0: int, t1: int) -> np.ndarray:
            return bytes_[0, t0:t1].permute(0, 2, 3, 1).contiguous().numpy()

    [(xy, visibility)] = drive(offline, Frames(), [View(queries[0].numpy(), None, SMALL)], 3)
    whole_xy, whole_visibility = offline.track(bytes_.float() / 255, queries)
    np.testing.assert_allclose(xy, whole_xy[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(visibility, whole_visibility[0].numpy(), atol=1e-4)


def test_the_overlap_is_carried_and_the_query_kept(offline):
    frames = video(10)
    features = offline.encode(frames)
    _, _, first = offline.advance(offline.open(QUERIES, SMALL), features.window(0, 6))
    (group,) = first.groups
    assert group.tail is not None and group.tail.xy.shape == (1, 7, 2, 2)
    start = cotracker._start(group, 6, 6)
    torch.testing.assert_close(start.xy[:, :, :2], group.tail.xy)
    torch.testing.assert_close(start.xy[:, :, 2:], group.tail.xy[:, :, 1:].expand(-1, -1, 4, -1))
    torch.testing.assert_close(start.visibility[:, :, 5], group.tail.visibility[:, :, 1])
    _, _, second = offline.advance(first, features.window(4, 10))
    assert all(torch.equal(a, b) for a, b in zip(group.support, second.groups[0].support, strict=True))
    # A query that comes later is sampled when its frame is there, and starts from itself.
    late = torch.tensor([[[30.0, 20.0, 7.0]]])
    _, _, state = offline.advance(offline.open(late, SMALL), features.window(0, 6))
    assert (state.groups[0].support[0][:, 0] == 0).all() and (state.groups[0].support[0][:, 1] != 0).any()
    torch.testing.assert_close(
        cotracker._start(state.groups[0], 6, 6).xy[0, 0], state.groups[0].xy[0, 0].expand(6, 2), rtol=0, atol=0
    )
    xy, _, state = offline.advance(state, features.window(4, 10))
    assert (state.groups[0].support[0][:, 0] != 0).any()
    assert torch.equal(xy[0, 0, :4], late[0, :, :2].expand(4, 2))


def test_order_changes_nothing_and_the_joint_group_is_the_chunk(offline):
    offline.iterations = 2
    features = offline.encode(video(4))
    xy, visibility = offline.track_features(features, QUERIES)
    order = [2, 0, 1]
    other_xy, other_visibility = offline.track_features(features, QUERIES[:, order])
    torch.testing.assert_close(other_xy, xy[:, order], rtol=0, atol=1e-3)
    torch.testing.assert_close(other_visibility, visibility[:, order], rtol=0, atol=1e-4)
    alone = torch.cat([offline.track_features(features, QUERIES[:, n : n + 1])[0] for n in range(3)], 1)
    chunked, _ = make(offline, query_chunk=1).track_features(features, QUERIES)
    torch.testing.assert_close(chunked, alone, rtol=0, atol=1e-3)
    assert (chunked - xy).abs().max() > 1e-3  # they do attend to each other


def test_correlations_in_parts_are_the_same(offline, monkeypatch):
    features = offline.encode(video(3))
    xy, _ = offline.track_features(features, QUERIES.clamp(max=torch.tensor([64, 48, 2])))
    monkeypatch.setattr("trackime.trackers.networks.cotracker.PAIRS", 1)
    parts, _ = offline.track_features(features, QUERIES.clamp(max=torch.tensor([64, 48, 2])))
    torch.testing.assert_close(parts, xy, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["offline", "online"])
def test_a_batch_is_its_clips(request, name):
    tracker = request.getfixturevalue(name)
    clips, queries = video(4, batch=2, seed=3), torch.cat([QUERIES, QUERIES.flip(1)])
    xy, visibility = tracker.track(clips, queries)
    for b in range(2):
        one_xy, one_visibility = tracker.track(clips[b : b + 1], queries[b : b + 1])
        torch.testing.assert_close(one_xy[0], xy[b], rtol=0, atol=1e-3)
        torch.testing.assert_close(one_visibility[0], visibility[b], rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (90, 31)])
def test_frames_of_any_size(offline, size):
    frames = torch.rand(1, 2, 3, *size, generator=torch.Generator().manual_seed(0))
    xy, visibility = offline.track(frames, torch.tensor([[[0.5, 0.5, 0.0], [size[1], -1e4, 1.0]]]))
    assert xy.isfinite().all() and visibility.isfinite().all()
    assert xy[0, 0, 0].tolist() == [0.5, 0.5]


def test_no_queries_and_one_frame(offline, online):
    for tracker in (offline, online):
        xy, visibility = tracker.track(video(2), torch.zeros(1, 0, 3))
        assert xy.shape == (1, 0, 2, 2) and visibility.shape == (1, 0, 2)
        xy, visibility = tracker.track(video(1), QUERIES[:, :1])
        assert torch.equal(xy[:, :, 0], QUERIES[:, :1, :2]) and (visibility == 1).all()


def test_wrong_shapes_are_refused(offline):
    with pytest.raises(ShapeError, match="frames"):
        offline.track(video(2)[0], QUERIES)
    with pytest.raises(ShapeError, match="frames"):
        offline.encode(video(2)[:, :, :2])
    with pytest.raises(ShapeError, match="queries"):
        offline.track(video(2), QUERIES[0])
    with pytest.raises(ShapeError, match="queries"):
        offline.track(video(2), QUERIES.expand(2, -1, -1))
    with pytest.raises(ShapeError, match="queries"):
        offline.open(QUERIES[0], SMALL)
    with pytest.raises(ShapeError, match="features: expected shape 2 clips"):
        offline.advance(offline.open(QUERIES.expand(2, -1, -1), SMALL), offline.encode(video(1)))


# ---- loading


def test_loading_by_path(networks, tmp_path: Path):
    path = tmp_path / "scaled_offline.pth"
    torch.save({"model": networks["cotracker3_offline"].state_dict()}, path)
    tracker = trackers.create(f"cotracker3:{path}", query_chunk=7)
    assert (tracker.name, tracker.input_size, tracker.max_frames, tracker.overlap) == ("cotracker3", (384, 512), 60, 20)
    assert tracker.query_chunk == 7 and not any(p.requires_grad for p in tracker.network.parameters())
    key = "updateformer.flow_head.weight"
    assert torch.equal(tracker.network.state_dict()[key], networks["cotracker3_offline"].state_dict()[key])
    told = r"weights of cotracker3-online do not fit: 1 of another shape \(time_emb \[1, 60, 1110\] instead of"
    with pytest.raises(FormatError, match=told):
        trackers.create(f"cotracker3-online:{path}")
    torch.save(networks["cotracker3_online"].state_dict(), path)
    tracker = trackers.create(f"cotracker3-online:{path}")
    assert (tracker.name, tracker.max_frames, tracker.overlap) == ("cotracker3-online", 16, 8)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"input_size": (30, 64)}, "input_size"),
        ({"input_size": (64, 66)}, "input_size"),
        ({"query_chunk": 0}, "query_chunk"),
        ({"support_grid": 1}, "support_grid"),
        ({"overlap": 60}, "overlap: expected 1 to 59"),
        ({"device": "toaster"}, "toaster"),
        ({"colour": "red"}, "takes no 'colour'"),
    ],
)
def test_wrong_options_are_told_before_weights_are_read(option, told):
    with pytest.raises(InputError, match=told):
        trackers.create("cotracker3:/no/such/file.pth", **option)
    with pytest.raises(InputError, match="file"):
        trackers.create("cotracker3:/no/such/file.pth")
