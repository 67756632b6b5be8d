"""Batches of worlds: what they hold agrees with the worlds of `make_world`, which serve as the slow reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn, idctn

from trackime.errors import InputError
from trackime.types import Queries, VideoInfo
from trackime.worlds import Batch, BatchOptions, TexturePool, World, WorldOptions, make_batch
from trackime.worlds.layers._layer import Layer, mip_levels
from trackime.worlds.layers._render import render_sharp
from trackime.worlds.layers.batch import _develop as develop
from trackime.worlds.layers.batch import pool as pools
from trackime.worlds.layers.batch._points import longest_gap
from trackime.worlds.layers.batch._render import render
from trackime.worlds.layers.batch._shade import Shading
from trackime.worlds.layers.batch.options import LONG_GAP
from trackime.worlds.motion import Warp

PLAIN = BatchOptions(light=0.0, noise=0.0, compression=0.0, motion_blur=0.0, defocus=0.0, shadows=0.0)
STILL = replace(PLAIN, speed=0.0, camera=0.0, shake=0.0, turn=0.0, zoom=1.0, nonrigid=0.0, articulated=0.0, tilted=0.0)
SIZE = {"batch": 2, "frames": 7, "height": 72, "width": 88, "points": 60}


@pytest.fixture(scope="module")
def pool() -> TexturePool:
    return TexturePool.procedural(3, count=8, outlines=24, side=96)


@pytest.fixture(scope="module")
def ramps() -> TexturePool:
    """Every texel of an image has a colour of its own, which changes linearly: red across, green down."""
    y, x = np.mgrid[:400, :400].astype(np.float32) / 400
    parts = pools._procedural(0, 2, 24, 32, "train")
    parts.images = [np.stack([0.25 + 0.5 * x, 0.25 + 0.5 * y, np.full_like(x, 0.5)])]
    parts.detailed = parts.smooth = [0]
    return pools._pack(parts)


def small(seed: int, pool: TexturePool, options: BatchOptions = PLAIN, **sizes: int) -> Batch:
    return make_batch(seed, **{**SIZE, **sizes}, options=options, pool=pool)


def reference(batch: Batch, clip: int) -> World:
    """One clip as a `World`, whose truth is computed by other code."""
    own = batch.layers
    rows = own.table[clip][own.table[clip] >= 0].tolist()
    frames = own.frames
    layers = []
    for k in rows:
        (x0, y0), (x1, y1) = own.limits[k].long().tolist()
        tile = own.atlas[0][0, :, y0:y1, x0:x1]
        gain, shift = own.to_tile[k].numpy()
        low, high = (np.array(v, float) - shift for v in ((x0, y0), (x1, y1)))
        extent = (*(low / gain).tolist(), *(high / gain).tolist())
        angle = torch.atan2(own.direction[k, :, 1], own.direction[k, :, 0]).numpy()
        frequency = np.append(own.frequency[k].numpy(), 0.0)
        bent = Warp(angle, frequency, own.amplitude[k].numpy(), own.phase[k].numpy())
        warp = bent if own.bends[k] else Warp.none(frames)
        distance = None if own.thing[k] == 0 else tile[None, 3:].contiguous()
        layers.append(Layer(own.matrix[k].numpy(), warp, extent, mip_levels(tile[:3], 3), distance, np.ones(frames)))
    info = VideoInfo.regular(own.width, own.height, frames, 25.0, "reference")
    rank = own.rank[rows].numpy().T
    return World(info, 0, WorldOptions(), tuple(layers), rank, np.ones(frames), torch.device("cpu"))


# Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": 0}, "points: expected a whole number of 1 or more, got 0"),
        ({"batch": 0}, "batch"),
        ({"frames": 0}, "frames"),
        ({"height": 15}, "height: expected a whole number of 16 or more"),
        ({"width": 20.5}, "width"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str, pool: TexturePool) -> None:
    with pytest.raises(InputError, match=message):
        make_batch(**{"seed": 0, **SIZE, **arguments}, pool=pool)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objects": (5, 2)}, "objects: expected .least, most. whole numbers"),
        ({"objects": 3}, "objects: expected two numbers"),
        ({"size": (0.0, 0.4)}, "size"),
        ({"strides": ()}, "strides: expected whole numbers of 1 or more"),
        ({"strides": (0,)}, "strides"),
        ({"gaps": 0.1}, "long_gaps: expected at most gaps"),
        ({"jerky": 1.2}, "jerky: expected a number of 0 to 1"),
        ({"speed": float("nan")}, "speed"),
        ({"zoom": 0.5}, "zoom: expected a number of 1 to 4"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BatchOptions(**options)


def test_bad_frames_of_a_flow(pool: TexturePool) -> None:
    batch = small(0, pool, frames=2)
    with pytest.raises(InputError, match=r"t1: expected 0 .. 1, got 2"):
        batch.flow(0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"split": "test"}, "split: expected one of train, val, all"), ({"count": 1}, "count"), ({"side": 8}, "side")],
)
def test_bad_pools(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TexturePool.procedural(**arguments)


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder"):
        TexturePool.from_folders(tmp_path / "none", count=2, outlines=1)
    with pytest.raises(InputError, match=r"expected images .*, found none"):
        TexturePool.from_folders(tmp_path, count=2, outlines=1)
    (tmp_path / "a_1.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="could not read"):
        TexturePool.from_folders(tmp_path, split="all", count=2, outlines=1)


# What is in a batch -------------------------------------------------------------------------------------------


def test_shapes(pool: TexturePool) -> None:
    batch = make_batch(1, 3, 5, 40, 52, 17, pool=pool)
    assert batch.frames.shape == (3, 5, 3, 40, 52) and batch.frames.dtype == torch.float32
    assert batch.frames.min() >= 0 and batch.frames.max() <= 1 and batch.frames.std() > 0.02
    assert batch.xy.shape == (3, 17, 5, 2) and batch.xy.dtype == torch.float32
    assert batch.visibility.shape == (3, 17, 5) and set(batch.visibility.unique().tolist()) <= {0.0, 1.0}
    assert batch.query_frame.shape == (3, 17) and batch.object.shape == (3, 17)
    assert batch.masks.shape == (3, 5, 40, 52) and batch.masks.dtype == torch.uint8


@pytest.mark.parametrize("options", [BatchOptions(), BatchOptions(objects=(0, 0)), BatchOptions(objects=(14, 14))])
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_any_length_and_number(options: BatchOptions, frames: int, pool: TexturePool) -> None:
    batch = make_batch(4, 2, frames, 33, 47, 8, options=options, pool=pool)
    assert torch.isfinite(batch.frames).all() and torch.isfinite(batch.xy).all()
    assert batch.object.max() <= options.objects[1]
    assert (batch.visibility.gather(2, batch.query_frame[..., None]) == 1).all()


def test_the_same_from_the_same_seed(pool: TexturePool) -> None:
    a, b, other = (small(seed, pool, BatchOptions()) for seed in (7, 7, 8))
    for name in ("frames", "xy", "visibility", "query_frame", "object", "masks"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
        assert not torch.equal(getattr(a, name), getattr(other, name)), name


def test_a_still_world_stands_still(pool: TexturePool) -> None:
    batch = small(2, pool, replace(STILL, motion_blur=1.0))
    assert (batch.xy - batch.xy[:, :, :1]).abs().max() < 1e-4
    assert (batch.frames - batch.frames[:, :1]).abs().max() < 1e-4
    assert (batch.masks == batch.masks[:, :1]).all()
    flow, seen = batch.flow(0, 6)
    assert flow.abs().max() < 1e-4 and seen.all()


# The truth ----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_tracks_and_visibility_are_those_of_the_reference(seed: int, pool: TexturePool) -> None:
    batch = small(seed, pool)
    for clip in range(2):
        world = reference(batch, clip)
        n = np.arange(60)
        t = batch.query_frame[clip].numpy()
        xy = batch.xy[clip].numpy()
        truth = world.track(Queries(np.concatenate([xy[n, t], t[:, None]], 1)))
        things = batch.layers.thing[batch.layers.table[clip]].numpy()[truth.queries.instance]
        same = things == batch.object[clip].numpy()
        # Next to an edge the last bit of a query's position decides whose it is.
        assert same.mean() > 0.98
        assert abs(truth.xy - xy)[same].max() < 2e-2
        assert (truth.visibility == batch.visibility[clip].numpy())[same].mean() > 0.995


@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_masks_and_flow_are_those_of_the_reference(seed: int, pool: TexturePool) -> None:
    batch = small(seed, pool)
    flow, seen = batch.flow(1, 5)
    for clip in range(2):
        world = reference(batch, clip)
        things = batch.layers.thing[batch.layers.table[clip]].numpy()
        t, y, x = np.meshgrid([0, 3, 6], np.arange(72), np.arange(88), indexing="ij")
        owner, _ = world.owner(np.stack([x.ravel(), y.ravel()], 1) + 0.5, t.ravel())
        assert (things[owner] == batch.masks[clip, [0, 3, 6]].flatten().numpy()).mean() > 0.9998
        there, visible = world.flow(1, 5)
        agree = abs(there - flow[clip].permute(1, 2, 0).numpy()).max(-1) < 1e-2
        assert agree.mean() > 0.999
        assert (visible == seen[clip].numpy()).mean() > 0.999


@pytest.mark.parametrize("seed", range(4))
def test_pixels_are_those_of_the_reference(seed: int, pool: TexturePool) -> None:
    # The reference clips what is tilted to a box that is meant for what is not.
    batch = small(seed, pool, replace(PLAIN, tilted=0.0))
    for clip in range(2):
        world = reference(batch, clip)
        for t in (0, 4):
            wrong = (render_sharp(world, t).clamp(0, 1) - batch.frames[clip, t]).abs().amax(0)
            # Not the same mip levels: the reference goes smoothly from one to the next.
            assert wrong.median() < 0.02 and (wrong > 0.15).float().mean() < 0.03


@pytest.mark.parametrize("seed", range(4))
def test_a_track_stays_on_its_texel(seed: int, ramps: TexturePool) -> None:
    options = replace(PLAIN, low_texture=0.0)
    batch = small(seed, ramps, options, frames=10, points=120)
    size = batch.xy.new_tensor([88, 72])
    grid = (batch.xy / size * 2 - 1).permute(0, 2, 1, 3).reshape(20, 1, 120, 2)
    colour = F.grid_sample(batch.frames.flatten(0, 1), grid, padding_mode="border", align_corners=False)
    colour = colour.view(2, 10, 3, 120).permute(0, 3, 1, 2)
    # Only well within a surface: the pixels around are all its own.
    ids = batch.masks.flatten(0, 1)[:, None].float()
    even = (F.max_pool2d(ids, 5, 1, 2) == -F.max_pool2d(-ids, 5, 1, 2)).float()
    inner = F.grid_sample(even, grid, mode="nearest", align_corners=False).view(2, 10, 120).permute(0, 2, 1) > 0.5
    row = batch.query_frame[..., None]
    clear = (batch.visibility > 0) & inner & inner.gather(2, row)
    there = colour.gather(2, row[..., None].expand(-1, -1, 1, 3))
    change = (colour - there).abs().amax(-1)
    assert clear.float().mean() > 0.2
    assert change[clear].quantile(0.98) < 0.03 and change[clear].mean() < 0.006
    hidden = batch.visibility == 0
    assert not hidden.any() or change[hidden].median() > 0.05


@pytest.mark.parametrize("seed", [3, 4])
def test_motion_blur_is_nearly_the_mean_over_the_shutter(seed: int, pool: TexturePool) -> None:
    batch = small(seed, pool, replace(PLAIN, tilted=0.0, nonrigid=0.0, jerky=0.0, shake=0.0, speed=8.0))
    count = len(batch.layers.clip)
    looks = Shading(torch.ones(count, 7), torch.zeros(count, dtype=torch.int64), torch.ones(2), torch.zeros(count, 4))
    blurred = render(batch.layers, looks)[0][:, 3].clamp(0, 1)
    sharp, smooth = [], []
    for clip in range(2):
        world = reference(batch, clip)
        slow = torch.stack([render_sharp(world, 3 + k / 20) for k in range(-10, 11)]).mean(0).clamp(0, 1)
        sharp.append((batch.frames[clip, 3] - slow).abs().mean())
        smooth.append((blurred[clip] - slow).abs().mean())
    # Motion is taken as straight within the shutter's time, and mip levels differ.
    assert sum(smooth) < 0.6 * sum(sharp), (smooth, sharp)


def test_visible_points_lie_on_their_masks(pool: TexturePool) -> None:
    batch = small(11, pool, BatchOptions(), points=200)
    b, n, t = (batch.visibility > 0).nonzero(as_tuple=True)
    x, y = batch.xy[b, n, t].long().unbind(-1)
    seen = batch.masks[b, t, y.clamp(0, 71), x.clamp(0, 87)]
    # A mask says whose the pixel's centre is; on an edge the point in it may be another's.
    assert (seen == batch.object[b, n]).float().mean() > 0.93
    assert ((batch.xy[b, n, t] >= 0) & (batch.xy[b, n, t] <= batch.xy.new_tensor([88, 72]))).all()


def test_shadows_blur_and_camera_leave_the_truth_alone(pool: TexturePool) -> None:
    plain, rich = small(5, pool), small(5, pool, BatchOptions(light=0.0))
    assert torch.equal(plain.masks, rich.masks) and torch.equal(plain.xy, rich.xy)
    assert not torch.equal(plain.frames, rich.frames)


# Which points, and how they move ------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_gaps(visible: list[bool]) -> None:
    longest, run, before = 0, 0, False
    for now in visible:
        if now:
            longest, run, before = max(longest, run if before else 0), 0, True
        else:
            run += 1
    assert int(longest_gap(torch.tensor(visible))) == longest


def test_statistics(pool: TexturePool) -> None:
    speeds, gaps, things, early, turns = [], [], [], [], []
    for seed in range(5):
        batch = make_batch(seed, 16, 24, 64, 64, 64, options=PLAIN, pool=pool)
        seen = batch.visibility > 0
        step = (batch.xy[:, :, 1:] - batch.xy[:, :, :-1]).norm(dim=-1) * 256 / 64
        speeds.append(step[seen[:, :, 1:] & seen[:, :, :-1]])
        gaps.append(longest_gap(seen).flatten())
        things.append((batch.object > 0).float().mean())
        rank = (seen.cumsum(-1).gather(2, batch.query_frame[..., None])[..., 0] - 1) / seen.sum(-1)
        early.append(rank.flatten())
        turns.append(batch.layers.rank.diff(dim=1).abs().amax() > 0)
    median, fast, fastest = torch.cat(speeds).quantile(torch.tensor([0.5, 0.9, 0.99])).tolist()
    assert 1.8 < median < 3.5 and 7 < fast < 14 and 18 < fastest < 38, (median, fast, fastest)
    gap = torch.cat(gaps)
    assert 0.3 < (gap > 0).float().mean() < 0.4 and 0.12 < (gap >= LONG_GAP).float().mean() < 0.18
    assert 0.6 < torch.stack(things).mean() < 0.75
    # The query is as often early among a point's visible frames as late.
    assert 0.42 < torch.cat(early).mean() < 0.5
    assert any(turns)


# Noise and compression ----------------------------------------------------------------------------------------


def test_compression_against_a_slow_one() -> None:
    torch.manual_seed(0)
    grey = torch.rand(1, 1, 1, 24, 16).expand(-1, -1, 3, -1, -1).contiguous()
    step = 0.07
    got = develop.compress(grey, torch.tensor([step]))[0, 0, 0].numpy()
    k = np.arange(8)
    table = step * (1 + 0.6 * (k[:, None] + k))
    for y in range(0, 24, 8):
        for x in range(0, 16, 8):
            block = dctn(grey[0, 0, 0, y : y + 8, x : x + 8].numpy(), norm="ortho")
            wanted = idctn(np.round(block / table) * table, norm="ortho")
            assert abs(got[y : y + 8, x : x + 8] - wanted).max() < 1e-4


def test_compression_keeps_even_colours_and_odd_sizes() -> None:
    flat = torch.tensor([0.2, 0.5, 0.8]).view(1, 1, 3, 1, 1).expand(1, 2, 3, 19, 21).contiguous()
    out = develop.compress(flat, torch.tensor([0.01]))
    assert out.shape == flat.shape and (out - flat).abs().max() < 0.01


def test_noise_has_the_spread_asked_for() -> None:
    frames = torch.full((2, 3, 3, 64, 64), 0.25)
    develop._add_noise(frames, np.array([0.02, 0.0]), np.array([0.0, 0.1]), np.array([[0, 9, 99]] * 2))
    spread = (frames - 0.25).flatten(1).std(1)
    assert abs(spread[0] - 0.02) < 1e-3 and abs(spread[1] - 0.05) < 2e-3
    assert not torch.equal(frames[0, 0], frames[0, 1])


# Pools --------------------------------------------------------------------------------------------------------


def test_splits_of_procedural_pools_share_nothing() -> None:
    train, val = (TexturePool.procedural(0, 4, 4, 32, split) for split in ("train", "val"))
    again = TexturePool.procedural(0, 4, 4, 32, "train")
    assert torch.equal(train.texels, again.texels) and torch.equal(train.outlines, again.outlines)
    both = TexturePool.procedural(0, 4, 4, 32, "all")
    assert len(both.outlines) == 8 and not set(train.sources) & set(val.sources)
    for a in train.outlines:
        assert all(not torch.equal(a, b) for b in val.outlines)
    size = train.size[0].prod(-1).sum()
    assert not torch.equal(train.texels[:size], val.texels[:size])


@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=200))
def test_sources_are_held_out_whole(names: list[str]) -> None:
    held = pools._hold_out(names)
    assert held == pools._hold_out(names[::-1])
    share = sum(name in held for name in names) / len(names)
    assert held < set(names) or not held
    assert abs(share - pools._HELD_OUT) <= pools._HELD_OUT


def write(path: Path, image: np.ndarray) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def test_folders_are_split_by_source(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["file,repo"]
    for k in range(20):
        name = f"x{k}_0.png"
        write(tmp_path / "photos" / name, rng.integers(0, 255, (20, 30, 3), np.uint8))
        rows.append(f"{name},owner{k % 10}/name{k}")
    (tmp_path / "photos" / "sources.csv").write_text("\n".join(rows))
    found = {split: pools._list_images(tmp_path / "photos", split) for split in ("train", "val", "all")}
    assert len(found["all"]) == 20 and sorted(found["train"] + found["val"]) == found["all"]
    train, val = ({source for _, source in found[split]} for split in ("train", "val"))
    assert not train & val and val and all(source.startswith("owner") for source in train)
    pool = TexturePool.from_folders(tmp_path / "photos", split="val", count=2, outlines=2)
    assert len(pool.detailed) + len(pool.smooth) >= len(found["val"])
    assert not set(pool.sources) & train


def test_sprites_keep_their_outline_and_colours(tmp_path: Path) -> None:
    image = np.zeros((60, 40, 4), np.uint8)
    image[10:50, 8:32] = (30, 60, 200, 255)  # blue, green, red, alpha
    image[20:30, 14:20, 3] = 0
    for k in range(3):
        write(tmp_path / f"kind{k}" / "a.png", image)
    pool = TexturePool.from_folders(sprites=tmp_path, split="all", count=2, outlines=1)
    assert pool.sprite.tolist() == [-1, -1, 4, 5, 6]
    unit = 0.5 * float(np.hypot(40, 24))
    y, x = (np.mgrid[:96, :96] + 0.5) * (2.2 / 96) - 1.1
    row, column = y * unit + 30, x * unit + 20
    solid = (row > 10) & (row < 50) & (column > 8) & (column < 32)
    solid &= ~((row > 20) & (row < 30) & (column > 14) & (column < 20))
    away = (pool.outlines[2].numpy() > 0) != solid
    assert away.mean() < 0.03
    first = int(pool.first[4, 0])
    texel = pool.texels[first : first + int(pool.size[4, 0].prod())]
    assert (texel == 200 + (60 << 8) + (30 << 16)).all()  # filled out beyond the edge
    options = replace(STILL, low_texture=0.0, camouflage=0.0)
    batch = make_batch(0, 2, 1, 96, 96, 10, options=options, pool=pool)
    assert torch.isfinite(batch.frames).all()


def test_outlines_lie_in_their_disc(pool: TexturePool) -> None:
    y, x = (np.mgrid[: pools.OUTLINE, : pools.OUTLINE] + 0.5) * (2 * pools.REACH / pools.OUTLINE) - pools.REACH
    rho = np.hypot(x, y)
    for outline in pool.outlines.numpy():
        assert (outline > 0).any() and rho[outline > 0].max() <= 1.0


# GPU ----------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_the_same_scenes_on_a_gpu(pool: TexturePool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    here, there = (make_batch(3, **SIZE, pool=pool, device=device) for device in ("cpu", "cuda"))
    assert there.frames.device.type == "cuda"
    assert (here.masks == there.masks.cpu()).float().mean() > 0.999
    assert (here.frames - there.frames.cpu()).abs().median() < 2e-3
    same = (here.xy - there.xy.cpu()).abs().amax((-1, -2)) < 0.05
    assert same.float().mean() > 0.97
    assert (here.visibility == there.visibility.cpu())[same].float().mean() > 0.99
    assert (here.flow(0, 5)[0] - there.flow(0, 5)[0].cpu()).abs().median() < 1e-3
