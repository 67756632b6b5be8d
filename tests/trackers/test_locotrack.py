"""LocoTrack against vectors recorded from the authors' code, and what the adapter promises beyond the network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.golden import filled, vectors
from trackime import trackers
from trackime.errors import FormatError, InputError, ShapeError
from trackime.trackers.locotrack import LocoTrack, LocoTrackOptions
from trackime.trackers.networks import _alibi as alibi
from trackime.trackers.networks import _correlation4d as correlation4d
from trackime.trackers.networks import locotrack as networks
from trackime.trackers.networks._softargmax import soft_argmax

TIMES = 4
"""How many times the authors' code's own rounding (float32 against float64) ours may differ from it."""


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module", params=["small", "base"])
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def recorded(size: str) -> dict[str, np.ndarray]:
    return vectors(f"locotrack_{size}")


def filled_network(size: str) -> networks.LocoTrack:
    network = networks.LocoTrack(size)
    network.load_state_dict(filled(network))
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network(size: str) -> networks.LocoTrack:
    return filled_network(size)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as published: Lightning's, all names below ``model.``."""
    path = tmp_path_factory.mktemp("weights") / "small.ckpt"
    state = {f"model.{key}": value for key, value in filled(networks.LocoTrack("small")).items()}
    torch.save({"epoch": 3, "state_dict": state, "hparams_name": "kwargs"}, path)
    return path


@pytest.fixture(scope="module")
def tracker(weights: Path) -> trackers.PointTracker:
    return trackers.create(f"locotrack-small:{weights}", query_chunk=64)


def windowed(tracker: trackers.PointTracker, max_frames: int, overlap: int, query_chunk: int = 64) -> LocoTrack:
    """The same network looked through with other windows."""
    assert isinstance(tracker, LocoTrack)
    options = LocoTrackOptions(query_chunk, max_frames=max_frames, overlap=overlap)
    return LocoTrack(tracker.network, tracker.name, options, tracker.device)


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return vectors("locotrack_inputs")


def clip(inputs: dict[str, np.ndarray], prefix: str = "") -> tuple[Tensor, Tensor]:
    """Frames [1, T, 3, h, w] in [0, 1] and queries [1, N, 3] (x, y, t); recorded (t, y, x) with the same centres."""
    frames = torch.from_numpy(inputs[f"{prefix}video_u8"]).permute(0, 3, 1, 2)[None] / 255
    return frames, torch.from_numpy(inputs[f"{prefix}query_points_tyx"]).flip(-1)[None]


def noise(recorded: dict[str, np.ndarray], key: str) -> float:
    return float(json.loads(str(recorded["float_noise"]))[key])


def assert_recorded(recorded: dict[str, np.ndarray], key: str, ours: Tensor, index: int | None = None) -> None:
    theirs = recorded[key] if index is None else recorded[key][index]
    np.testing.assert_allclose(ours.numpy().reshape(theirs.shape), theirs, rtol=0, atol=TIMES * noise(recorded, key))


# ---- the authors' numbers


def test_names_and_shapes_are_those_of_the_checkpoints(
    network: networks.LocoTrack, recorded: dict[str, np.ndarray]
) -> None:
    ours = {key: list(value.shape) for key, value in network.state_dict().items()}
    assert ours == json.loads(str(recorded["state_dict"]))


def test_square_clip(
    network: networks.LocoTrack, recorded: dict[str, np.ndarray], inputs: dict[str, np.ndarray]
) -> None:
    frames, queries = clip(inputs)
    maps = networks.LocoTrackMaps(*(grid[None] for grid in network.encode(frames[0] * 2 - 1)))
    frame, xy = queries[..., 2].long(), queries[..., :2]
    query = network.query(maps, maps, frame, xy)
    for name in maps._fields:
        assert_recorded(recorded, f"feat_{name}0_slice", getattr(maps, name)[0, 0, :4, :4, :8])
        assert_recorded(recorded, f"query_{name}0_first16", getattr(query, name)[0, :, 3, 3, :16])
        assert_recorded(recorded, f"supp_{name}0_slice", getattr(query, name)[0, :, :3, :2, :4])
    assert torch.equal(query.first_lowres, query.lowres[:, :, 3, 3])
    seen: list[tuple[Tensor, Tensor]] = []
    parts: list[nn.Module] = [*network.cmdtop, network.torch_pips_mixer]
    hooks = [part.register_forward_hook(lambda _, x, y: seen.append((x[0], y))) for part in parts]
    estimates = network.estimates(maps, maps, query, frame, xy, networks.FIRST_SIZE)
    found = [next(estimates), next(estimates)]
    for hook in hooks:
        hook.remove()
    for i, (before, after) in enumerate(seen[:3]):
        assert_recorded(recorded, f"cmdtop{i}_in_row0", before[0, :2])
        assert_recorded(recorded, f"cmdtop{i}_out_rows", after[:6, :32])
    assert_recorded(recorded, "mixer_in_seq0_frame0", seen[3][0][0, 0])
    assert_recorded(recorded, "mixer_out_seq0_first24", seen[3][1][0, :, :24])
    found += estimates
    assert len(found) == 5
    for i, estimate in enumerate(found):
        assert_recorded(recorded, "iter_tracks", estimate.xy, i)
        assert_recorded(recorded, "iter_occlusion", estimate.occlusion, i)
        assert_recorded(recorded, "iter_expected_dist", estimate.expected_dist, i)
    assert_recorded(recorded, "tracks", found[-1].xy)
    assert_recorded(recorded, "occlusion", found[-1].occlusion)
    assert_recorded(recorded, "expected_dist", found[-1].expected_dist)


def test_clip_that_is_not_square(
    network: networks.LocoTrack, recorded: dict[str, np.ndarray], inputs: dict[str, np.ndarray]
) -> None:
    frames, queries = clip(inputs, "ns_")
    size = (256, 320)
    tracker = LocoTrack(network, "locotrack", LocoTrackOptions(input_size=size))
    features = tracker.encode(frames)
    for name in ("lowres", "hires", "highest"):
        assert_recorded(recorded, f"ns_feat_{name}1_slice", features.data[name][0, 0, :4, :4, :8])
    for name in ("lowres", "hires"):
        assert_recorded(recorded, f"ns_feat_{name}0_slice", features.data[f"first_{name}"][0, 0, :4, :4, :8])
    maps = networks.LocoTrackMaps(*(features.data[key] for key in networks.LocoTrackMaps._fields))
    first = maps._replace(hires=features.data["first_hires"], lowres=features.data["first_lowres"])
    scale = torch.tensor([256 / 320, 1.0])
    frame, xy = queries[..., 2].long(), queries[..., :2] * scale
    found = list(network.estimates(maps, first, network.query(maps, first, frame, xy), frame, xy, size))
    for i, estimate in enumerate(found):
        assert_recorded(recorded, "ns_iter_tracks", estimate.xy / scale, i)
    assert_recorded(recorded, "ns_tracks", found[-1].xy / scale)
    assert_recorded(recorded, "ns_occlusion", found[-1].occlusion)
    assert_recorded(recorded, "ns_expected_dist", found[-1].expected_dist)
    xy, visibility = tracker.track_features(features, queries)
    assert_published(recorded, "ns_", queries, xy, visibility)


def assert_published(
    recorded: dict[str, np.ndarray], prefix: str, queries: Tensor, xy: Tensor, visibility: Tensor
) -> None:
    """The published tracks and decisions, but for the query frames, which are the queries."""
    query = torch.arange(xy.shape[2]) == queries[0, :, 2:].long()
    assert torch.equal(xy[0][query], queries[0, :, :2])
    assert (visibility[0][query] == 1).all()
    tracks = torch.from_numpy(recorded[f"{prefix}tracks"])
    torch.testing.assert_close(xy[0][~query], tracks[~query], rtol=0, atol=0.01)
    occlusion, distance = (torch.from_numpy(recorded[prefix + key]) for key in ("occlusion", "expected_dist"))
    hidden = 1 - (1 - torch.sigmoid(occlusion)) * (1 - torch.sigmoid(distance))
    torch.testing.assert_close(visibility[0][~query], 1 - hidden[~query], rtol=0, atol=1e-3)


def test_the_tracker_is_the_published_predictor(tracker: trackers.PointTracker, inputs: dict[str, np.ndarray]) -> None:
    frames, queries = clip(inputs)
    assert_published(vectors("locotrack_small"), "", queries, *tracker.track(frames, queries))


# ---- checkpoints


def test_the_size_is_told_from_the_checkpoint(weights: Path) -> None:
    assert trackers.create(f"locotrack-base:{weights}").name == "locotrack-small"


def test_a_checkpoint_that_does_not_fit(tmp_path: Path) -> None:
    state = {"model.cost_conv.weight": torch.zeros(1, 2, 3, 3), "model.head": torch.zeros(2)}
    torch.save({"state_dict": state}, tmp_path / "other.ckpt")
    with pytest.raises(FormatError, match=r"locotrack-small do not fit: 134 missing .*; 1 not expected \(head\)"):
        trackers.create(f"locotrack-small:{tmp_path / 'other.ckpt'}")


@pytest.mark.parametrize(
    ("option", "value"),
    [("query_chunk", 0), ("input_size", (256, 250)), ("input_size", (128, 256)), ("overlap", 96), ("overlap", -1)],
)
def test_options_out_of_range(weights: Path, option: str, value: Any) -> None:
    with pytest.raises(InputError, match=option):
        trackers.create(f"locotrack-small:{weights}", **{option: value})


def test_wrong_shapes(tracker: trackers.PointTracker) -> None:
    with pytest.raises(ShapeError, match="frames"):
        tracker.encode(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ShapeError, match="queries"):
        tracker.open(torch.zeros(4, 3), (32, 32))
    with pytest.raises(ShapeError, match="queries"):
        tracker.track(torch.zeros(1, 1, 3, 32, 32), torch.zeros(2, 1, 3))


# ---- the contract


FRAMES, SIZE = 7, (50, 70)
QUERIES = torch.tensor([[[30.5, 20.0, 0], [69.9, 0.1, 3], [12.2, 40.0, 6], [-9.0, 300.0, 2]]])


@pytest.fixture(scope="module")
def features(tracker: trackers.PointTracker) -> trackers.Features:
    rng = torch.Generator().manual_seed(5)
    return tracker.encode(torch.rand(1, FRAMES, 3, *SIZE, generator=rng))


def test_order_number_and_chunks_of_points_change_nothing(
    tracker: trackers.PointTracker, features: trackers.Features
) -> None:
    xy, visibility = tracker.track_features(features, QUERIES)
    assert xy.shape == (1, 4, FRAMES, 2) and visibility.shape == (1, 4, FRAMES)
    assert xy.isfinite().all() and ((visibility >= 0) & (visibility <= 1)).all()
    order = [2, 0, 3, 1]
    by_one = windowed(tracker, 96, 24, query_chunk=1)
    other_xy, other_visibility = by_one.track_features(features, QUERIES[:, order])
    torch.testing.assert_close(other_xy, xy[:, order], rtol=0, atol=1e-3)
    torch.testing.assert_close(other_visibility, visibility[:, order], rtol=0, atol=1e-4)
    assert tracker.track_features(features, QUERIES[:, :0])[0].shape == (1, 0, FRAMES, 2)


def test_a_batch_is_its_clips_and_blocks_change_nothing(
    tracker: trackers.PointTracker, features: trackers.Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = tracker.track_features(features.window(0, 3), QUERIES.clamp(max=2))
    data = {key: torch.cat([value[:, 3:6], value[:, :3]]) for key, value in features.data.items()}
    monkeypatch.setattr(networks, "_BLOCK", 8)
    queries = torch.cat([QUERIES[:, [1, 1, 2, 3]], QUERIES]).clamp(max=2)
    xy, visibility = tracker.track_features(trackers.Features(data, SIZE), queries)
    torch.testing.assert_close(xy[1:], alone[0], rtol=0, atol=1e-3)
    torch.testing.assert_close(visibility[1:], alone[1], rtol=0, atol=1e-4)


def test_one_frame_is_the_query(tracker: trackers.PointTracker, features: trackers.Features) -> None:
    queries = QUERIES * torch.tensor([1, 1, 0])
    xy, visibility = tracker.track_features(features.window(0, 1), queries)
    assert torch.equal(xy[:, :, 0], queries[..., :2])
    assert (visibility == 1).all()


def test_advance_hides_what_is_before_the_query(tracker: trackers.PointTracker, features: trackers.Features) -> None:
    whole = tracker.track_features(features, QUERIES)
    xy, visibility, _ = tracker.advance(tracker.open(QUERIES, SIZE), features)
    for n, t in enumerate(QUERIES[0, :, 2].long().tolist()):
        assert torch.equal(xy[0, n, : t + 1], QUERIES[0, n, :2].expand(t + 1, 2))
        assert visibility[0, n, : t + 1].tolist() == [0.0] * t + [1.0]
        torch.testing.assert_close(xy[0, n, t:], whole[0][0, n, t:], rtol=0, atol=1e-3)
        torch.testing.assert_close(visibility[0, n, t:], whole[1][0, n, t:], rtol=0, atol=1e-4)


def test_windows_are_the_network_with_what_is_carried(
    tracker: trackers.PointTracker, features: trackers.Features
) -> None:
    """The second window by hand: features from the query frame in the first, positions of the common frames."""
    double = windowed(tracker, max_frames=5, overlap=2)
    queries = QUERIES[:, :3]
    state = double.open(queries, SIZE)
    *_, state = double.advance(state, features.window(0, 5))
    assert state.last is not None and state.last.shape == (1, 3, 2, 2)
    xy, visibility, _ = double.advance(state, features.window(3, 7))
    assert xy.shape == (1, 3, 3, 2)  # the later one of the frames in common is told anew

    def maps(t0: int, t1: int) -> networks.LocoTrackMaps:
        return networks.LocoTrackMaps(*(features.data[key][:, t0:t1] for key in networks.LocoTrackMaps._fields))

    scale = torch.tensor([256 / SIZE[1], 256 / SIZE[0]])
    place = queries[..., :2] * scale
    net, size = double.network, networks.FIRST_SIZE
    for n in (0, 1):
        frame = queries[:, n : n + 1, 2].long()
        at = place[:, n : n + 1]
        query = net.query(maps(0, 5), maps(0, 5), frame, at)
        *_, one = net.estimates(maps(0, 5), maps(0, 5), query, frame, at, size)
        *_, two = net.estimates(maps(3, 7), maps(3, 7), query, frame - 3, at, size, one.xy[:, :, 3:])
        torch.testing.assert_close(xy[0, n], two.xy[0, 0, 1:] / scale, rtol=0, atol=1e-3)
    # A query first met in the second window has nothing but its own frames.
    assert torch.equal(xy[0, 2, 2], queries[0, 2, :2]) and visibility[0, 2].tolist() == [0, 0, 1]


def test_long_clips_go_both_ways(tracker: trackers.PointTracker, features: trackers.Features) -> None:
    double = windowed(tracker, max_frames=4, overlap=1)
    xy, visibility = double.track_features(features, QUERIES)
    assert xy.shape == (1, 4, FRAMES, 2)
    # A point asked for in the last frame is followed backward: by the network on the flipped clip.
    mirrored = QUERIES[:, 2:3] * torch.tensor([1, 1, 0])
    back_xy, back_visibility = double.track_features(features.flip(), mirrored)
    torch.testing.assert_close(back_xy.flip(2), xy[:, 2:3], rtol=0, atol=1e-3)
    torch.testing.assert_close(back_visibility.flip(2), visibility[:, 2:3], rtol=0, atol=1e-4)
    assert (visibility[0, 2, :6] > 0).all()


def test_known_places_are_started_from(tracker: trackers.PointTracker, features: trackers.Features) -> None:
    assert isinstance(tracker, LocoTrack)
    maps = networks.LocoTrackMaps(*(features.data[key] for key in networks.LocoTrackMaps._fields))
    frame, xy = torch.tensor([[4, -3]]), torch.tensor([[[100.0, 50.0], [30.0, 20.0]]])
    query = tracker.network.query(maps, maps, frame.clamp(min=0), xy)
    known = torch.tensor([[[[7.0, 8.0], [9.0, 9.0]], [[1.0, 2.0], [torch.nan, torch.nan]]]])
    search = tracker.network.initialise(maps, query).xy
    start = next(iter(tracker.network.estimates(maps, maps, query, frame, xy, (256, 256), known))).xy
    assert torch.equal(start[0, 0, :2], known[0, 0]) and torch.equal(start[0, 1, 0], known[0, 1, 0])
    assert torch.equal(start[0, 0, 4], xy[0, 0])
    assert torch.equal(start[0, 1, 1:], search[0, 1, 1:])


# ---- parts beside slow references


def test_local_correlation_is_sampling_and_products() -> None:
    rng = torch.Generator().manual_seed(0)
    grid = torch.randn(2, 3, 9, 12, 5, generator=rng)
    support = torch.randn(2, 4, 7, 7, 5, generator=rng)
    xy = torch.rand(2, 4, 2, 2, generator=rng) * 30 - 10
    xy[0, 0, 0] = torch.tensor([1e7, -1e7])
    xy[1, 1, 1] = torch.tensor([-2.99, 12.01])
    ours = correlation4d.local_correlation(grid, xy, support, first=1)
    steps = torch.arange(-3.0, 4.0)
    around = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    for b in range(2):
        for t in range(2):
            places = (xy[b, :, t, None, None] + around) * 2 / torch.tensor([12.0, 9.0]) - 1  # [N, 7, 7, 2]
            image = grid[b, 1 + t].permute(2, 0, 1).expand(4, -1, -1, -1)
            sampled = F.grid_sample(image, places, align_corners=False)  # [N, C, 7, 7]
            theirs = torch.einsum("nchw,nijc->nhwij", sampled, support[b])
            torch.testing.assert_close(ours[b, :, t], theirs, rtol=0, atol=1e-4)


def test_surroundings_are_sampling_with_the_border_beyond() -> None:
    rng = torch.Generator().manual_seed(1)
    grid = torch.randn(2, 3, 9, 12, 5, generator=rng)
    xy = torch.rand(2, 4, 2, generator=rng) * 20 - 4
    frame = torch.tensor([[0, 1, 2, 2], [1, 0, 0, 2]])
    ours = correlation4d.surroundings(grid, frame, xy)
    steps = torch.arange(-3.0, 4.0)
    around = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    for b in range(2):
        places = (xy[b, :, None, None] + around) * 2 / torch.tensor([12.0, 9.0]) - 1
        image = grid[b, frame[b]].permute(0, 3, 1, 2)
        theirs = F.grid_sample(image, places, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
        torch.testing.assert_close(ours[b], theirs, rtol=0, atol=1e-5)


def test_soft_argmax_is_a_mean_over_a_disc() -> None:
    heat = torch.randn(6, 10, 13, generator=torch.Generator().manual_seed(2)) * 4
    heat[0, 0, 12] = 30
    heat[1] = 0
    y, x = torch.meshgrid(torch.arange(10) + 0.5, torch.arange(13) + 0.5, indexing="ij")
    for ours, one in zip(soft_argmax(heat), heat, strict=True):
        peak = int(one.argmax())
        weights = one.flatten().softmax(0).view_as(one)
        weights = weights * ((x - x.flatten()[peak]) ** 2 + (y - y.flatten()[peak]) ** 2 < 25)
        theirs = torch.stack([(weights * x).sum(), (weights * y).sum()]) / weights.sum()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_attention_looks_one_way_a_head() -> None:
    bias = alibi.attention_bias(4, 5)
    slopes = [24**-0.5, 24**-1.0]
    for head, (i, j) in [(h, ij) for h in range(4) for ij in np.ndindex(5, 5)]:
        open_ = j <= i if head < 2 else j >= i
        expected = -abs(i - j) * slopes[head % 2] if open_ else -np.inf
        assert bias[head, i, j].item() == pytest.approx(expected, rel=1e-6)
