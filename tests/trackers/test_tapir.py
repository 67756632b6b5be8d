"""The TAPIR family against tracks, features and states recorded from the authors' code, and the adapters' promises.

Weights follow from their names (tests/golden.py), so tracks mean nothing but are the same everywhere. Tolerances are
about three times what the authors' code itself moves between single and double precision.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.golden import filled, vectors
from trackime import trackers
from trackime.errors import FormatError, InputError, ShapeError
from trackime.trackers import PointTracker
from trackime.trackers.networks import Descriptors, Grids, Tapir, TapirEstimate, TapirVariant, final, levels_for
from trackime.trackers.networks._local import local_correlation
from trackime.trackers.tapir import CausalTapirTracker, TapirOptions, TapirTracker, TapNet

VARIANTS = {
    "tapir": TapirVariant(),
    "bootstapir": TapirVariant(pyramid=1, extra=True),
    "causal_bootstapir": TapirVariant(pyramid=1, extra=True, causal=True),
}
FEATURES, POSITIONS, LOGITS = 2e-6, 3e-4, 6e-5


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def build(variant: TapirVariant, state: dict[str, Tensor] | None = None) -> Tapir:
    with torch.device("meta"):
        network = Tapir(variant)
    network.load_state_dict(state if state is not None else filled(network), assign=True)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def nets() -> dict[str, Tapir]:
    """The networks of `VARIANTS`; weights follow from names, so the three share them where they can."""
    boots = build(VARIANTS["bootstapir"])
    causal = build(VARIANTS["causal_bootstapir"], boots.state_dict())
    return {"tapir": build(VARIANTS["tapir"]), "bootstapir": boots, "causal_bootstapir": causal}


def clip(key: str) -> Tensor:
    """[1, T, 3, h, w] in [0, 1]."""
    return torch.from_numpy(vectors("tapir")[key]).permute(0, 3, 1, 2)[None].float() / 255


def asked(name: str, key: str) -> tuple[Tensor, Tensor]:
    """xy [1, N, 2] and t [1, N] of the recorded queries (t, y, x)."""
    queries = torch.from_numpy(vectors(name)[key])[None]
    return queries[..., [2, 1]], queries[..., 0].long()


@dataclass
class Run:
    """A network on the square clip."""

    grids: Grids
    points: Descriptors
    estimates: list[TapirEstimate]


@pytest.fixture(scope="module")
def runs(nets: dict[str, Tapir]) -> dict[str, Run]:
    made: dict[str, Run] = {}
    with torch.no_grad():
        for name, net in nets.items():
            # The causal network's encoder is the other's.
            grids = made["bootstapir"].grids if "causal" in name else net.grids(clip("video_u8") * 2 - 1)
            xy, t = asked(name, "query_points_tyx")
            points = net.describe(grids, xy, t, (256, 256))
            made[name] = Run(grids, points, net.estimate([grids, grids], [points, points], xy, t)[0])
    return made


def close(got: Tensor, want: np.ndarray, atol: float) -> None:
    torch.testing.assert_close(got.reshape(want.shape), torch.from_numpy(want), rtol=1e-5, atol=atol)


def stacked(estimates: list[TapirEstimate], field: str) -> Tensor:
    return torch.stack([getattr(e, field) for e in estimates])


# ---- the networks


@pytest.mark.parametrize("name", VARIANTS)
def test_names_and_shapes_are_the_checkpoint_s(nets: dict[str, Tapir], name: str) -> None:
    want = {k: tuple(s) for k, s in json.loads(str(vectors(name)["state_dict"])).items()}
    assert {k: tuple(v.shape) for k, v in nets[name].state_dict().items()} == want
    assert TapirVariant.of(nets[name].state_dict(), VARIANTS[name].causal) == VARIANTS[name]


def test_encoder_stages(nets: dict[str, Tapir]) -> None:
    maps = nets["tapir"].resnet_torch(clip("video_u8")[0, :1] * 2 - 1)
    stages = ["initial_conv", *(f"resnet_unit_{i}" for i in range(4))]
    for stage, out in zip(stages, maps, strict=True):
        close(out[0, :8, :4, :4], vectors("tapir")[f"frame0_{stage}_slice"], 3e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_features(runs: dict[str, Run], name: str) -> None:
    grids, points, want = runs[name].grids, runs[name].points, vectors(name)
    close(grids.coarse[0, 0, :4, :4, :8], want["feat_lowres0_slice"], FEATURES)
    close(grids.fine[0, 0, :4, :4, :8], want["feat_hires0_slice"], FEATURES)
    close(points.coarse[0, :, :16], want["query_lowres0_first16"], FEATURES)
    close(points.fine[0, :, :16], want["query_hires0_first16"], FEATURES)
    cost = torch.einsum("nc,hwc->nhw", points.coarse[0], grids.coarse[0, 0, :4, :4])
    close(cost, want["cost_volume_slice"], FEATURES)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_guess_then_each_iteration(runs: dict[str, Run], name: str) -> None:
    want, got = vectors(name), runs[name].estimates
    assert len(got) == 5
    for i, estimate in enumerate(got):
        close(estimate.xy, want["iter_tracks"][i], POSITIONS)
        close(estimate.occlusion, want["iter_occlusion"][i], LOGITS)
        close(estimate.distance, want["iter_expected_dist"][i], LOGITS)
    close(final(got).xy, want["tracks"], POSITIONS)
    close(final(got).occlusion, want["occlusion"], LOGITS)
    close(final(got).distance, want["expected_dist"], LOGITS)


def test_another_temperature(nets: dict[str, Tapir], runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    net, run, want = nets["bootstapir"], runs["bootstapir"], vectors("bootstapir")
    monkeypatch.setattr(net, "temperature", 10.0)
    xy, t = asked("bootstapir", "query_points_tyx")
    got, _ = net.estimate([run.grids, run.grids], [run.points, run.points], xy, t)
    close(stacked(got, "xy"), want["t10_iter_tracks"], POSITIONS)
    close(final(got).xy, want["t10_tracks"], POSITIONS)
    close(final(got).occlusion, want["t10_occlusion"], LOGITS)
    close(final(got).distance, want["t10_expected_dist"], LOGITS)


@pytest.mark.parametrize("name", ["tapir", pytest.param("bootstapir", marks=pytest.mark.slow)])
def test_frames_that_are_not_square(nets: dict[str, Tapir], name: str) -> None:
    """Two levels of refinement; each axis has its own size, unlike in the authors' torch code."""
    net, want, frames = nets[name], vectors(name), clip("ns_video_u8") * 2 - 1
    xy, t = asked(name, "ns_query_points_tyx")
    wide = torch.tensor([320 / 256, 1.0])
    first = net.grids(F.interpolate(frames[0], (256, 256), mode="bilinear")[None])
    second = net.grids(frames)
    close(second.coarse[0, 0, :4, :4, :8], want["ns_feat_lowres2_slice"], FEATURES)
    close(second.fine[0, 0, :4, :4, :8], want["ns_feat_hires2_slice"], FEATURES)
    points = [net.describe(grids, xy, t, (256, 320)) for grids in (first, first, second)]
    close(points[2].coarse[0, :, :16], want["ns_query_lowres2_first16"], FEATURES)
    got, _ = net.estimate([first, first, second], points, xy / wide, t)
    close(stacked(got, "xy") * wide, want["nsfix_iter_tracks"], POSITIONS)
    close(final(got).xy * wide, want["nsfix_tracks"], POSITIONS)
    close(final(got).occlusion, want["nsfix_occlusion"], LOGITS)
    close(final(got).distance, want["nsfix_expected_dist"], LOGITS)


@pytest.mark.parametrize("chunk", [1, 4])
def test_the_causal_network_frame_by_frame(nets: dict[str, Tapir], runs: dict[str, Run], chunk: int) -> None:
    net, run, want = nets["causal_bootstapir"], runs["causal_bootstapir"], vectors("causal_bootstapir")
    contexts, parts = net.empty(5), []
    for first in range(0, 6, chunk):
        shown = Grids(*(maps[:, first : first + chunk] for maps in run.grids))
        estimates, contexts = net.estimate([shown, shown], [run.points, run.points], contexts=contexts)
        parts.append(estimates)
    for i in range(5):
        close(torch.cat([p[i].xy for p in parts], 2), want["online_iter_tracks"][i], POSITIONS)
        close(torch.cat([p[i].occlusion for p in parts], 2), want["online_iter_occlusion"][i], LOGITS)
        close(torch.cat([p[i].distance for p in parts], 2), want["online_iter_expected_dist"][i], LOGITS)
    close(contexts[0][0][0][..., :16], want["online_final_state_block0_causal1"], 3e-5)
    close(contexts[3][11][1][..., :16], want["online_final_state_block11_causal2"], 3e-5)


def test_local_correlation_is_sampling_then_multiplying() -> None:
    generator = torch.Generator().manual_seed(0)
    grid = torch.rand(2, 3, 11, 17, 5, generator=generator)
    target = torch.rand(2, 4, 3, 5, generator=generator)
    xy = torch.rand(2, 4, 3, 2, generator=generator) * torch.tensor([17.0, 11.0])
    xy[0, 0, 0], xy[0, 1, 1], xy[1, 2, 0] = (
        torch.tensor([-2.3, 12.7]),
        torch.tensor([1e9, -1e9]),
        torch.tensor([8.5, 3.5]),
    )
    offset = torch.stack(torch.meshgrid(torch.arange(-3, 4), torch.arange(-3, 4), indexing="xy"), -1).reshape(49, 2)
    place = (xy[..., None, :] + offset) * 2 / torch.tensor([17.0, 11.0]) - 1  # [B, N, T, 49, 2]
    samples = F.grid_sample(
        grid.flatten(0, 1).movedim(-1, 1), place.transpose(1, 2).flatten(0, 1), align_corners=False
    ).reshape(2, 3, 5, 4, 49)
    want = torch.einsum("btcns,bntc->bnts", samples, target)
    torch.testing.assert_close(local_correlation(grid, xy, target), want, rtol=1e-5, atol=1e-5)
    one = local_correlation(grid, xy, target[:, :, :1])
    torch.testing.assert_close(one, local_correlation(grid, xy, target[:, :, :1].expand(-1, -1, 3, -1)))


def test_levels_of_refinement() -> None:
    assert levels_for((256, 256)) == [(256, 256)]
    assert levels_for((256, 320)) == [(256, 256), (256, 320)]
    assert levels_for((512, 512)) == [(256, 256), (512, 512)]
    assert levels_for((480, 856)) == [(256, 256), (344, 464), (480, 856)]


# ---- the adapters


def make(nets: dict[str, Tapir], kind: str, **options) -> PointTracker:
    """The smaller network in each adapter, with the causal one's way of looking where that is asked for."""
    if kind == "causal":
        network = build(TapirVariant(causal=True), nets["tapir"].state_dict())
        return CausalTapirTracker(network, "causal-bootstapir", TapirOptions(**options))
    return (TapNet if kind == "tapnet" else TapirTracker)(nets["tapir"], kind, TapirOptions(**options))


KINDS = ("tapir", "causal", "tapnet")
SIZE = (96, 130)
QUERIES = torch.tensor([[[40.5, 30.5, 0], [64.2, 48.7, 3], [20.0, 80.0, 5], [90.3, 45.1, 2], [70.0, 41.0, 0]]])


@pytest.fixture(scope="module")
def video() -> Tensor:
    return clip("video_u8")[:, :, :, 50 : 50 + SIZE[0], 60 : 60 + SIZE[1]]


@pytest.fixture(scope="module")
def features(nets: dict[str, Tapir], video: Tensor):
    """One encoding serves them all: they have the same encoder."""
    return make(nets, "tapir").encode(video)


def test_a_clip_is_the_authors_result(nets: dict[str, Tapir], runs: dict[str, Run]) -> None:
    tracker = TapirTracker(nets["tapir"], "tapir")
    want, (xy, t) = vectors("tapir"), asked("tapir", "query_points_tyx")
    data = trackers.Features({"coarse0": runs["tapir"].grids.coarse, "fine0": runs["tapir"].grids.fine}, (256, 256))
    got, visibility = tracker.track_features(data, torch.cat([xy, t[..., None]], -1))
    seen = (1 / (1 + np.exp(want["occlusion"]))) * (1 / (1 + np.exp(want["expected_dist"])))
    at_query = np.arange(6) == t[0].numpy()[:, None]
    close(got[0], np.where(at_query[..., None], xy[0].numpy()[:, None], want["tracks"]), POSITIONS)
    close(visibility[0], np.where(at_query, 1, seen).astype(np.float32), LOGITS)


def test_the_guess_alone_is_the_authors_first_iteration(nets: dict[str, Tapir], runs: dict[str, Run]) -> None:
    grids, (xy, t) = runs["tapir"].grids, asked("tapir", "query_points_tyx")
    data = trackers.Features({"coarse0": grids.coarse, "fine0": grids.fine}, (256, 256))
    got, _ = make(nets, "tapnet").track_features(data, torch.cat([xy, t[..., None]], -1))
    close(got[0], vectors("tapir")["iter_tracks"][0], POSITIONS)


def test_streaming_from_the_first_frame_is_the_authors_result(nets: dict[str, Tapir], runs: dict[str, Run]) -> None:
    grids, want = runs["causal_bootstapir"].grids, vectors("causal_bootstapir")
    xy, t = asked("causal_bootstapir", "query_points_tyx")
    assert t[0, 0] == 0
    tracker = CausalTapirTracker(nets["causal_bootstapir"], "causal-bootstapir")
    state = tracker.open(torch.cat([xy[:, :1], torch.zeros(1, 1, 1)], -1), (256, 256))
    for step in range(6):
        data = {"coarse0": grids.coarse[:, step : step + 1], "fine0": grids.fine[:, step : step + 1]}
        got, visibility, state = tracker.advance(state, trackers.Features(data, (256, 256)))
        if step > 0:
            close(got[0, 0, 0], want["tracks"][0, step], POSITIONS)
            seen = 1 / (1 + np.exp(want["occlusion"][0, step])) / (1 + np.exp(want["expected_dist"][0, step]))
            close(visibility[0, 0], np.array([seen], np.float32), LOGITS)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_any_size_in_their_own_pixels(nets: dict[str, Tapir], video: Tensor, features, kind: str) -> None:
    tracker = make(nets, kind)
    xy, visibility = tracker.track_features(features, QUERIES)
    assert xy.shape == (1, 5, 6, 2) and visibility.shape == (1, 5, 6)
    assert ((visibility >= 0) & (visibility <= 1)).all()
    for n, (x, y, t) in enumerate(QUERIES[0].tolist()):
        assert xy[0, n, int(t)].tolist() == pytest.approx([x, y], abs=1e-5)
        assert visibility[0, n, int(t)] == 1
    # The same frames, shown twice as wide and half as high before they are resized, are the same to the network.
    wide = trackers.Features(features.data, (SIZE[0] // 2, SIZE[1] * 2))
    factor = torch.tensor([2.0, 0.5])
    again, _ = tracker.track_features(wide, torch.cat([QUERIES[..., :2] * factor, QUERIES[..., 2:]], -1))
    torch.testing.assert_close(again, xy * factor, rtol=0, atol=5e-3)


def test_encoding_is_what_track_does_first(nets: dict[str, Tapir], video: Tensor, features) -> None:
    tracker = make(nets, "tapir")
    whole = tracker.track(video[:, :2], QUERIES[:, :1])
    parts = tracker.track_features(features.window(0, 2), QUERIES[:, :1])
    torch.testing.assert_close(whole[0], parts[0], rtol=0, atol=1e-3)
    torch.testing.assert_close(whole[1], parts[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_order_and_chunks_of_points_change_nothing(nets: dict[str, Tapir], features, kind: str) -> None:
    xy, visibility = make(nets, kind).track_features(features, QUERIES)
    order = [3, 0, 4, 2, 1]
    other, seen = make(nets, kind, query_chunk=2).track_features(features, QUERIES[:, order])
    torch.testing.assert_close(other, xy[:, order], rtol=0, atol=1e-3)
    torch.testing.assert_close(seen, visibility[:, order], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["causal", "tapnet"])
@pytest.mark.parametrize("size", [1, 4])
def test_chunks_of_frames_change_nothing(nets: dict[str, Tapir], features, kind: str, size: int) -> None:
    tracker = make(nets, kind)
    assert tracker.max_frames is None and tracker.overlap == 0
    whole, seen, _ = tracker.advance(tracker.open(QUERIES, SIZE), features)
    state, parts = tracker.open(QUERIES, SIZE), []
    for t in range(0, 6, size):
        xy, visibility, state = tracker.advance(state, features.window(t, min(6, t + size)))
        parts.append((xy, visibility))
    torch.testing.assert_close(torch.cat([p[0] for p in parts], 2), whole, rtol=0, atol=1e-3)
    torch.testing.assert_close(torch.cat([p[1] for p in parts], 2), seen, rtol=0, atol=1e-4)


def test_long_causal_chunks_are_taken_in_steps(
    nets: dict[str, Tapir], features, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = make(nets, "causal")
    whole, _ = tracker.track_features(features, QUERIES)
    monkeypatch.setattr("trackime.trackers.tapir.STEPS", 4)
    torch.testing.assert_close(tracker.track_features(features, QUERIES)[0], whole, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", ["causal", "tapnet"])
def test_a_point_knows_nothing_of_frames_before_its_query(nets: dict[str, Tapir], features, kind: str) -> None:
    tracker = make(nets, kind)
    xy, visibility, _ = tracker.advance(tracker.open(QUERIES, SIZE), features)
    late = QUERIES[:, 1:2] - torch.tensor([0.0, 0.0, 3.0])
    alone, seen, _ = tracker.advance(tracker.open(late, SIZE), features.window(3, 6))
    torch.testing.assert_close(xy[:, 1:2, 3:], alone, rtol=0, atol=1e-3)
    torch.testing.assert_close(visibility[:, 1:2, 3:], seen, rtol=0, atol=1e-4)
    assert (visibility[0, 1, :3] == 0).all() and (xy[0, 1, :3] == QUERIES[0, 1, :2]).all()


@pytest.mark.parametrize("kind", ["causal", "tapnet"])
def test_reversing_the_video_reverses_the_tracks(nets: dict[str, Tapir], features, kind: str) -> None:
    tracker = make(nets, kind)
    xy, visibility = tracker.track_features(features, QUERIES)
    mirrored = QUERIES * torch.tensor([1.0, 1.0, -1.0]) + torch.tensor([0.0, 0.0, 5.0])
    back, seen = tracker.track_features(features.flip(), mirrored)
    torch.testing.assert_close(back.flip(2), xy, rtol=0, atol=1e-3)
    torch.testing.assert_close(seen.flip(2), visibility, rtol=0, atol=1e-4)


def test_windows_share_frames_and_carry_the_query(nets: dict[str, Tapir], features) -> None:
    tracker = make(nets, "tapir")
    assert tracker.max_frames is not None and 0 < tracker.overlap < tracker.max_frames
    whole, _ = tracker.track_features(features, QUERIES)
    first, _, _ = tracker.advance(tracker.open(QUERIES, SIZE), features)
    after = torch.arange(6) >= QUERIES[0, :, 2:]
    torch.testing.assert_close(first[0][after], whole[0][after], rtol=0, atol=1e-3)
    tracker.max_frames, tracker.overlap = 4, 2
    state = tracker.open(QUERIES, SIZE)
    xy, _, state = tracker.advance(state, features.window(0, 4))
    more, _, state = tracker.advance(state, features.window(2, 6))
    # Frame 3, at the end of the first window, is told anew by the second, in which it has neighbours on both sides.
    assert xy.shape[2] == 4 and more.shape[2] == 3 and state.step == 6
    # The second window alone, for a point whose features come from the first one.
    run = tracker.network
    grids = Grids(features.data["coarse0"], features.data["fine0"])
    points = run.describe(grids, QUERIES[:, :1, :2], QUERIES[:, :1, 2].long(), SIZE)
    last = Grids(grids.coarse[:, 2:], grids.fine[:, 2:])
    want = final(run.estimate([last, last], [points, points])[0]).xy[:, :, 1:] * torch.tensor([SIZE[1], SIZE[0]]) / 256
    torch.testing.assert_close(more[:, :1], want, rtol=0, atol=1e-3)
    # Both directions meet in the whole.
    both, visible = tracker.track_features(features, QUERIES)
    torch.testing.assert_close(both[:, :1], torch.cat([xy[:, :1, :3], more[:, :1]], 2), rtol=0, atol=1e-3)
    assert both.shape == (1, 5, 6, 2) and (visible[0, 2, :5] > 0).all()


def test_no_points_one_frame_and_points_far_outside(nets: dict[str, Tapir], features) -> None:
    for kind in KINDS:
        tracker = make(nets, kind)
        xy, visibility = tracker.track_features(features, torch.zeros(1, 0, 3))
        assert xy.shape == (1, 0, 6, 2) and visibility.shape == (1, 0, 6)
        far = torch.tensor([[[0.0, 0.0, 0.0], [SIZE[1], SIZE[0], 0.0], [-1e4, 1e4, 0.0]]])
        xy, visibility = tracker.track_features(features.window(0, 1), far)
        assert torch.equal(xy[:, :, 0], far[..., :2]) and (visibility == 1).all()
        assert tracker.track_features(features.window(0, 3), far)[0].isfinite().all()


def test_a_batch_is_its_clips(nets: dict[str, Tapir], features) -> None:
    data = {key: torch.cat([value[:, :3], value[:, 3:].flip(1)]) for key, value in features.data.items()}
    both = trackers.Features(data, SIZE)
    queries = torch.cat([QUERIES, QUERIES.flip(1)]).clamp(max=torch.tensor([200.0, 200.0, 2.0]))
    for kind in ("tapir", "causal"):
        tracker = make(nets, kind, query_chunk=3)
        xy, visibility = tracker.track_features(both, queries)
        for b in range(2):
            one = trackers.Features({key: value[b : b + 1] for key, value in data.items()}, SIZE)
            alone, seen = tracker.track_features(one, queries[b : b + 1])
            torch.testing.assert_close(xy[b : b + 1], alone, rtol=0, atol=1e-3)
            torch.testing.assert_close(visibility[b : b + 1], seen, rtol=0, atol=1e-4)


def test_a_higher_resolution_refines_further(nets: dict[str, Tapir], video: Tensor) -> None:
    tracker = make(nets, "tapir", resolution=(256, 328))
    assert tracker.input_size == (256, 328)
    features = tracker.encode(video[:, :1])
    assert [tuple(v.shape[2:4]) for v in features.data.values()] == [(32, 32), (64, 64), (32, 41), (64, 82)]
    xy, _ = tracker.track_features(features, QUERIES[:, :1])
    assert torch.equal(xy[:, :, 0], QUERIES[:, :1, :2])
    for resolution in ((250, 256), (128, 256)):
        with pytest.raises(InputError, match="resolution: expected multiples of 8 from 256 on"):
            make(nets, "tapir", resolution=resolution)
    with pytest.raises(InputError, match="query_chunk"):
        make(nets, "tapir", query_chunk=0)


def test_wrong_shapes_are_refused(nets: dict[str, Tapir], video: Tensor, features) -> None:
    for kind in KINDS:
        with pytest.raises(ShapeError, match="frames"):
            make(nets, kind).track(video[0], QUERIES)
        with pytest.raises(ShapeError, match="queries"):
            make(nets, kind).track_features(features, QUERIES[0])


# ---- checkpoints


@pytest.fixture(scope="module")
def file(nets: dict[str, Tapir], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tapir_checkpoint_panning.pt"
    torch.save(nets["tapir"].state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["tapir", "bootstapir", "causal-bootstapir", "tapnet"])
def test_a_file_s_shapes_say_which_network_it_is(file: Path, features, name: str) -> None:
    tracker = trackers.create(f"{name}:{file}")
    assert tracker.name == name and tracker.input_size == (256, 256)
    assert isinstance(tracker, TapirTracker)
    assert tracker.network.variant == TapirVariant(causal=name.startswith("causal"))
    kind = {"causal-bootstapir": "causal", "tapnet": "tapnet"}.get(name, "tapir")
    assert (tracker.max_frames is None) == (kind != "tapir")
    xy, _ = tracker.track_features(features.window(0, 1), QUERIES[:, :1])
    assert torch.equal(xy[:, :, 0], QUERIES[:, :1, :2])
    assert not any(p.requires_grad for p in tracker.network.parameters())


def test_the_larger_network_s_file_fits_either_name(nets: dict[str, Tapir], tmp_path: Path) -> None:
    path = tmp_path / "bootstapir_checkpoint_v2.pt"
    torch.save(nets["bootstapir"].state_dict(), path)
    tracker = trackers.create(f"tapir:{path}", temperature=10.0, max_frames=96, overlap=0)
    assert isinstance(tracker, TapirTracker) and (tracker.max_frames, tracker.overlap) == (96, 0)
    with pytest.raises(InputError, match=r"overlap: expected 0 \.\. max_frames - 1 = 3, got 4"):
        trackers.create(f"tapir:{path}", max_frames=4, overlap=4)
    assert tracker.network.variant == VARIANTS["bootstapir"] and tracker.network.temperature == 10


def test_files_that_do_not_fit(nets: dict[str, Tapir], tmp_path: Path, file: Path) -> None:
    path = tmp_path / "part.pt"
    weight = "torch_pips_mixer.linear_1.weight"
    torch.save({weight: torch.zeros(3, 3)}, path)
    with pytest.raises(FormatError, match=r"weights of tapir do not fit: 187 missing .* 1 of another shape"):
        trackers.create(f"tapir:{path}")
    causal = tmp_path / "causal_bootstapir_checkpoint.pt"
    causal.symlink_to(file)
    with pytest.raises(InputError, match="write causal-bootstapir:"):
        trackers.create(f"bootstapir:{causal}")
    assert trackers.create(f"tapnet:{causal}").name == "tapnet"
