"""The embedded tracker: its network against slow references, its windows, its weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.trackers.textures import covered, shifting
from trackime import trackers
from trackime.errors import DeviceError, FormatError, InputError, UnknownNameError
from trackime.patches import PixelTemplates, cut_query_pixels, lab_images, refine_tracks
from trackime.trackers import EmbeddedOptions, EmbeddedTracker, save_weights, weights
from trackime.trackers.networks import (
    LARGE,
    SMALL,
    STRIDES,
    LastSeen,
    NetworkSize,
    QueriedPoints,
    TrackimeS,
    TrackimeSEstimate,
    WindowResult,
    unit,
)
from trackime.trackers.networks._contextattention import ContextAttention
from trackime.trackers.networks._timeblock import SymmetricTimeConv
from trackime.trackers.networks.costinit import CostInit
from trackime.trackers.networks.trackime_s import (
    _PRIOR,
    _PRIOR_PX,
    _TEMPLATES,
    _correlate,
    _look,
    _peaks,
    _prior,
    _sharpen,
)
from trackime.trackers.trackime_s import _FORMAT, _last_seen, _probability, load_weights
from trackime.trackers.weights import shipped

TINY = NetworkSize((8, 8, 16, 16), (1, 1, 1), 16, 32, 3, 3, window=6, overlap=2)


def network(size: NetworkSize = TINY, seed: int = 0) -> TrackimeS:
    """With weights under which everything matters: those it begins with say nothing of motion."""
    torch.manual_seed(seed)
    module = TrackimeS(size)
    for parameter in (module.head.weight, module.again.weight):
        nn.init.normal_(parameter, std=0.1)
    return module.eval().requires_grad_(False)


def tiny(**options: object) -> EmbeddedTracker:
    return EmbeddedTracker(network(), EmbeddedOptions((64, 64), **options))  # type: ignore[arg-type]


def clip(frames: int = 5, size: tuple[int, int] = (40, 56), seed: int = 1) -> Tensor:
    return torch.rand(1, frames, 3, *size, generator=torch.Generator().manual_seed(seed))


def queries(count: int, frames: int, size: tuple[int, int] = (40, 56), seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    xy = torch.rand(1, count, 2, generator=generator) * torch.tensor([size[1], size[0]])
    return torch.cat([xy, torch.randint(0, frames, (1, count, 1), generator=generator).float()], -1)


# ---- bad input first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": (100, 256)}, "input_size: expected"),
        ({"input_size": (16, 16)}, "at least 32"),
        ({"query_chunk": 0}, "query_chunk: expected 1 or more, got 0"),
        ({"iterations": 0}, "iterations: expected 1 or more, got 0"),
    ],
)
def test_options_outside_their_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EmbeddedOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"channels": (8, 8, 8)}, {"blocks": (1, 0, 1)}, {"dim": 12}, {"overlap": 12}, {"overlap": 0}]
)
def test_sizes_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="size: expected"):
        NetworkSize(**options)  # type: ignore[arg-type]


def test_weights_that_are_not_ours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file"):
        trackers.create(f"trackime-s:{tmp_path / 'none.safetensors'}")
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, other)
    with pytest.raises(FormatError, match="expected weights of 'trackime-s 1', found 'others'"):
        load_weights(other)
    save_file({"a": torch.zeros(2)}, other, {"format": _FORMAT, "size": json.dumps({"width": 32, "wide": 1})})
    with pytest.raises(FormatError, match="expected the network's size in the metadata"):
        load_weights(other)
    save_file({"a": torch.zeros(2)}, other, {"format": _FORMAT, "size": "{}"})
    with pytest.raises(FormatError, match=r"weights of trackime-s do not fit: .* missing"):
        load_weights(other)
    other.write_bytes(b"no weights at all")
    with pytest.raises(FormatError):
        load_weights(other)


def test_a_damaged_package_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(FormatError, match="install trackime again"):
        shipped("trackime-s")
    (tmp_path / "trackime-s.safetensors").write_bytes(b"short")
    with pytest.raises(FormatError) as caught:
        trackers.create("trackime-s")
    assert "expected sha256" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UnknownNameError, match="weights"):
        shipped("trackime-xl")


def test_an_unknown_device() -> None:
    with pytest.raises((InputError, DeviceError), match="toaster"):
        trackers.create("trackime-s", device="toaster")


# ---- what is in the package


def test_the_weights_in_the_package() -> None:
    file = shipped("trackime-s")
    assert file.stat().st_size < 10e6
    tracker = trackers.create("trackime-s")
    assert isinstance(tracker, EmbeddedTracker)
    assert sum(p.numel() for p in tracker.network.parameters()) < 4e6
    assert "trackime-s" in trackers.names()


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_both_sizes_keep_within_four_million_parameters(size: NetworkSize) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in TrackimeS(size).parameters()) < 4e6


@pytest.mark.parametrize("attention", [False, True])
def test_weights_of_any_size_come_back(tmp_path: Path, attention: bool) -> None:
    size = NetworkSize((8, 8, 8, 8), (1, 2, 1), 8, 16, 2, 2, attention, 5, 1)
    before = network(size)
    before.threshold = 0.25
    save_weights(before, tmp_path / "w.safetensors")
    after = load_weights(tmp_path / "w.safetensors")
    assert after.size == size and after.threshold == 0.25
    for name, value in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], value.half().float())
    tracker = trackers.create(f"trackime-s:{tmp_path / 'w.safetensors'}")
    assert tracker.max_frames == 5 + 4 * 4 and tracker.overlap == 1


# ---- parts of the network against slow references


def test_time_convolution_is_its_mirror_image() -> None:
    torch.manual_seed(0)
    module = SymmetricTimeConv(4, 2)
    x = torch.randn(3, 9, 4)
    kernel = torch.zeros(4, 1, 9)  # steps of two frames
    for step in (0, 1, 2):
        kernel[:, 0, 4 + 2 * step] = kernel[:, 0, 4 - 2 * step] = module.weight[step].detach()
    slow = nn.functional.conv1d(x.transpose(1, 2), kernel, padding=4, groups=4).transpose(1, 2)
    torch.testing.assert_close(module(x), slow)
    assert torch.equal(module(x.flip(1)), module(x).flip(1))


def test_contextual_attention_sees_three_by_three_patches() -> None:
    torch.manual_seed(0)
    module = ContextAttention(8, 2)
    nn.init.normal_(module.out.weight)
    x = torch.randn(1, 8, 10, 13)
    changed = x.clone()
    changed[..., 9, 12] += 1
    difference = (module(changed) - module(x)).abs().sum(1)[0].detach()
    assert difference.shape == (10, 13)
    # The last patch is rows 8 .. 9 and column 12; its neighbours begin at row 6 and column 10.
    assert (difference[6:, 10:] > 0).all()
    assert (difference[:6] == 0).all() and (difference[:, :10] == 0).all()
    fresh = ContextAttention(8, 2)
    assert torch.equal(fresh(x), x)


def test_look_is_bilinear_sampling() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 1, 2, 3, 6, 9)
    place = torch.rand(1, 2, 3, 2) * torch.tensor([13.0, 10.0]) - 2
    fast = _look(first, second, place).view(1, 2, 3, 7, 7, _TEMPLATES)
    steps = torch.arange(-3, 4.0)
    for n in range(2):
        for t in range(3):
            x, y = place[0, n, t]
            grid = torch.stack(torch.meshgrid(x + steps, y + steps, indexing="xy"), -1)
            scaled = grid * 2 / torch.tensor([9, 6]) - 1
            for k, volume in enumerate((first, second)):
                slow = nn.functional.grid_sample(volume[0, n, t][None, None], scaled[None], align_corners=False)
                torch.testing.assert_close(fast[0, n, t, ..., k], slow[0, 0], atol=1e-5, rtol=1e-4)


def test_peaks_are_where_correlations_stand_out() -> None:
    volume = torch.zeros(1, 1, 1, 20, 20)
    volume[..., 10, 12] = 1  # its centre is at (12.5, 10.5)
    look = _look(volume, torch.zeros_like(volume), torch.tensor([[[[10.5, 11.5]]]]))
    x, y, none_x, none_y, largest, none = _peaks(look)[0, 0, 0].tolist()
    assert (x * 3, y * 3) == pytest.approx((2, -1), abs=1e-3)
    assert (none_x, none_y, none, largest) == pytest.approx((0, 0, 0, 1), abs=1e-6)
    moved = _sharpen(volume, torch.tensor([[[[42.0, 46.0]]]]))
    assert moved[0, 0, 0].tolist() == pytest.approx([50, 42], abs=0.05)


def test_correlation_is_a_cosine() -> None:
    torch.manual_seed(0)
    maps, descriptors = unit(torch.randn(1, 2, 4, 5, 8)), unit(torch.randn(1, 3, 8))
    slow = torch.einsum("bthwc,bnc->bnthw", maps, descriptors)
    torch.testing.assert_close(_correlate(maps, descriptors), slow)
    assert slow.abs().max() <= 1


def test_search_finds_the_one_place_that_is_alike() -> None:
    torch.manual_seed(0)
    module = CostInit()
    nn.init.zeros_(module.conv2.weight)
    nn.init.zeros_(module.conv2.bias)  # type: ignore[arg-type]
    volumes = [torch.zeros(1, 64 // s, 96 // s) for s in STRIDES]
    for volume, stride in zip(volumes, STRIDES, strict=True):
        volume[0, 40 // stride, 72 // stride] = 1
    start = module(volumes)
    assert start.logits.shape == (1, 8, 12)
    assert (start.xy - torch.tensor([[76.0, 44.0]])).norm() < 8


# ---- positions laid onto the pixels


def placed(perturb: float, seed: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, query frames [N], true tracks [N, T, 2] and perturbed ones of a texture that moves by (2, -1) a frame."""
    images = lab_images(shifting(2, -1, 6)[0])
    t = torch.tensor([0, 5, 2, 3])
    start = torch.tensor([[50.5, 60.5], [60.0, 40.0], [45.2, 50.7], [70.0, 45.5]])
    true = start[:, None] + (torch.arange(6) - t[:, None])[..., None] * torch.tensor([2.0, -1.0])
    off = perturb * torch.randn(true.shape, generator=torch.Generator().manual_seed(seed)).clamp(-1.2, 1.2)
    off[torch.arange(4), t] = 0
    return images, t, true, true + off


def test_positions_are_laid_onto_the_pixels() -> None:
    images, t, true, rough = placed(1.5)
    templates = PixelTemplates.blank((1, 4), rough)
    cut_query_pixels(images, templates, 0, t, true[torch.arange(4), t], torch.ones(4, dtype=torch.bool))
    xy, _ = refine_tracks(images, templates.of(0), t, rough)
    assert (rough - true).norm(dim=-1).max() > 1.5
    assert (xy - true).norm(dim=-1).max() < 0.15
    forward, _ = refine_tracks(images, templates.of(0), t, rough, both=False)
    before = torch.arange(6) < t[:, None]
    assert torch.equal(forward[before], rough[before]) and torch.equal(forward[~before], xy[~before])


def test_what_does_not_fit_stays() -> None:
    images, t, true, rough = placed(1.0)
    templates = PixelTemplates.blank((1, 4), rough)
    cut_query_pixels(images, templates, 0, t, true[torch.arange(4), t], torch.ones(4, dtype=torch.bool))
    other = lab_images(torch.rand(6, 3, *images.shape[-2:], generator=torch.Generator().manual_seed(0)))
    xy, warp = refine_tracks(other, templates.of(0), t, rough)
    assert torch.equal(xy, rough) and torch.equal(warp, templates.warp[0])


def test_alignment_can_be_left_out() -> None:
    module = network()
    video, asked = clip(4), queries(3, 4)
    plain = EmbeddedTracker(module, EmbeddedOptions((64, 64), align=False))
    xy, visibility = plain.track(video, asked)
    other_xy, other_visibility = tiny().track(video, asked)
    assert xy.shape == other_xy.shape and torch.equal(visibility > 0.5, other_visibility > 0.5)


# ---- the network and its windows


@pytest.mark.parametrize("attention", [False, True])
def test_results_have_the_query_pinned(attention: bool) -> None:
    module = network(NetworkSize((8, 8, 16, 16), (1, 1, 1), 16, 32, 3, 3, attention, 6, 2))
    maps = [level[None] for level in module.encode(clip(4, (32, 48))[0])]
    assert [m.shape[2:4] for m in maps] == [(8, 12), (4, 6), (2, 3)]
    xy, t = torch.tensor([[[10.0, 20.0], [40.0, 5.0]]]), torch.tensor([[0, 3]])
    points = QueriedPoints(xy, t, module.describe([m[0] for m in maps], t[0], xy[0]))
    points = QueriedPoints(xy, t, [d[None] for d in points.descriptors])
    result = module(maps, points)
    assert len(result.estimates) == 3
    for estimate in result.estimates:
        assert torch.equal(estimate.xy[0, 0, 0], xy[0, 0]) and torch.equal(estimate.xy[0, 1, 3], xy[0, 1])
        assert _probability(estimate)[0, 0, 0] > 0.99
    assert not torch.equal(result.estimates[0].xy, result.estimates[2].xy)


def test_the_threshold_comes_to_lie_at_a_half() -> None:
    logits = torch.linspace(-4, 4, 9)
    estimate = TrackimeSEstimate(torch.zeros(9, 2), logits, torch.full((9,), -20.0))
    p = torch.sigmoid(logits)
    torch.testing.assert_close(_probability(estimate), p)
    assert torch.equal(_probability(estimate, 0.3) > 0.5, p > 0.3)


def test_what_is_known_is_what_refinement_begins_with() -> None:
    module = network()
    start = module.init([torch.rand(2 * 4, 64 // s, 64 // s) for s in STRIDES])
    known = TrackimeSEstimate(
        torch.tensor([[[[1.0, 2.0]], [[torch.nan] * 2]]]), torch.ones(1, 2, 1), -torch.ones(1, 2, 1)
    )
    begun, fresh = module._begin(start, (1, 2, 4), known), module._begin(start, (1, 2, 4), None)
    assert begun.xy[0, 0, 0].tolist() == [1, 2] and begun.visibility[0, 0, 0] == 1
    assert torch.equal(begun.xy[0, 1], fresh.xy[0, 1]) and torch.equal(begun.xy[:, :, 1:], fresh.xy[:, :, 1:])


def test_time_may_run_backward() -> None:
    tracker = tiny()
    video, asked = clip(6), queries(5, 6)
    mirrored = torch.stack([asked[..., 0], asked[..., 1], 5 - asked[..., 2]], -1)
    xy, visibility = tracker.track(video, asked)
    back_xy, back_visibility = tracker.track(video.flip(1), mirrored)
    torch.testing.assert_close(back_xy.flip(2), xy, rtol=0, atol=1e-4)
    torch.testing.assert_close(back_visibility.flip(2), visibility, rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [7, 27])
def test_windows_one_after_the_other_are_one_long_call(length: int) -> None:
    tracker = tiny()
    video, asked = clip(length), queries(4, length)
    features = tracker.encode(video)
    whole = tracker.advance(tracker.open(asked, features.size), features)
    state, xy, visibility = tracker.open(asked, features.size), torch.zeros(1, 4, length, 2), torch.zeros(1, 4, length)
    for t0, t1 in trackers.base.chunk_spans(length, tracker.max_frames, 2):
        # Encoded anew, as the driver of long videos does.
        part_xy, part_visibility, state = tracker.advance(state, tracker.encode(video[:, max(0, t0 - 2) : t1]))
        xy[:, :, t1 - part_xy.shape[2] : t1] = part_xy
        visibility[:, :, t1 - part_xy.shape[2] : t1] = part_visibility
    assert torch.equal(xy, whole[0]) and torch.equal(visibility, whole[1])
    both_xy, both_visibility = tracker.track(video, asked)
    assert both_xy.shape == (1, 4, length, 2) and both_visibility.shape == (1, 4, length)
    late = torch.arange(length) >= asked[..., 2:]
    assert torch.equal(both_xy[late], whole[0][late])


def test_number_and_order_change_nothing_across_blocks() -> None:
    tracker, length = tiny(), 8
    features, asked = tracker.encode(clip(length)), queries(37, length)
    xy, visibility = tracker.track_features(features, asked)
    order = torch.randperm(37, generator=torch.Generator().manual_seed(0))
    other_xy, other_visibility = tracker.track_features(features, asked[:, order])
    assert torch.equal(other_xy, xy[:, order]) and torch.equal(other_visibility, visibility[:, order])
    alone_xy, alone_visibility = tracker.track_features(features, asked[:, 35:36])
    assert torch.equal(alone_xy, xy[:, 35:36]) and torch.equal(alone_visibility, visibility[:, 35:36])


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (64, 64)])
def test_any_size_of_frame(size: tuple[int, int]) -> None:
    asked = queries(3, 7, size)
    xy, visibility = tiny().track(clip(7, size), asked)
    assert xy.isfinite().all() and ((visibility >= 0) & (visibility <= 1)).all()
    for n in range(3):
        assert torch.equal(xy[0, n, int(asked[0, n, 2])], asked[0, n, :2])


def test_it_comes_back_to_what_was_covered() -> None:
    video = covered(18)
    xy, visibility = trackers.create("trackime-s").track(video, torch.tensor([[[60.5, 40.5, 0.0], [70.5, 80.5, 0.0]]]))
    free = torch.tensor([70.5, 80.5]) + torch.arange(18)[:, None] * torch.tensor([1.0, 0.0])
    assert (xy[0, 1] - free).norm(dim=-1).max() < 2
    assert (visibility[0, 1] > 0.5).all()
    # The square lies over the other point from frame 5 to frame 12.
    assert (
        xy[0, 0, 13:] - torch.tensor([73.5, 40.5]) - torch.arange(5)[:, None] * torch.tensor([1.0, 0.0])
    ).abs().max() < 2
    assert visibility[0, 0, 8] <= 0.5 and visibility[0, 0, -1] > 0.5


def test_the_search_prefers_what_is_near() -> None:
    xy, t = torch.tensor([[[12.0, 12.0], [40.0, 20.0]]]), torch.tensor([[0, 2]])
    prior = _prior(LastSeen(xy, t), torch.Size((1, 2, 4, 4, 6))).view(2, 4, 4, 6)
    assert prior[0, :, 1, 1].tolist() == [0] * 4  # the cell that has its centre there
    squared = (4.0 - 12.0) ** 2 + (20.0 - 12.0) ** 2
    assert prior[0, 3, 2, 0].item() == pytest.approx(-_PRIOR * math.log1p(squared / (3 * _PRIOR_PX**2)))
    assert torch.equal(prior[1, 1], prior[1, 3])  # as far in time


def test_where_points_were_last_seen() -> None:
    before = LastSeen(torch.tensor([[[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]]), torch.tensor([[5, 2, 40]]))
    xy = torch.arange(24.0).view(1, 3, 4, 2)
    nan = torch.nan
    seen = torch.tensor([[[0.9, 0.6, 0.5, 0.1], [0.2, 0.1, 0.1, 0.3], [nan, nan, nan, nan]]])
    last = _last_seen(before, xy, seen, 10)
    assert last.t.tolist() == [[11, 2, 40]]
    assert last.xy.tolist() == [[[2.0, 3.0], [2.0, 2.0], [3.0, 3.0]]]


def test_the_longer_a_point_is_hidden_the_farther_it_is_sought() -> None:
    """The prior is around where a point was last seen, not around a guess, and widens from there."""
    tracker = trackers.create("trackime-s")
    asked: list[LastSeen] = []
    plain = tracker.network.forward

    def forward(*arguments: Any, **named: Any) -> WindowResult:
        asked.append(arguments[4])
        result: WindowResult = plain(*arguments, **named)
        hidden = [e._replace(visibility=torch.full_like(e.visibility, -9.0)) for e in result.estimates]
        return result._replace(estimates=hidden)

    tracker.network.forward = forward  # type: ignore[method-assign]
    frames = torch.rand(1, 24, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    state = tracker.open(torch.tensor([[[30.0, 20.0, 0.0]]]), (64, 64))
    tracker.advance(state, tracker.encode(frames))
    assert len(asked) == 4  # windows of twelve frames, eight of them shared
    assert [int(last.t[0, 0]) for last in asked] == [0, -4, -8, -12]
    assert all(torch.equal(last.xy[0, 0], torch.tensor([120.0, 80.0])) for last in asked)
