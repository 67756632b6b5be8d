"""The look of every layer of a batch: image, crop, colours, outline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from trackime.arrays import BoolArray, FloatArray, IntArray
from trackime.worlds.layers.batch._motion import rotation
from trackime.worlds.layers.batch._plan import BatchPlan
from trackime.worlds.layers.batch.options import BatchOptions
from trackime.worlds.layers.batch.pool import LEVELS, TexturePool

LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Image, crop, colours and outline of L layers. Texel (i, j) of a tile has its centre at (i + 0.5, j + 0.5).

    Attributes:
        image: int64 [L, 2], images of the pool, the second laid over the first; level: int64 [L, 2], their mip levels.
        place: float64 [L, 2, 2, 3], affine maps from tile texels to pixels of those levels.
        mix: float64 [L], share of the second image.
        colour: float64 [L, 3, 4], affine map of the colours.
        round_off: float64 [L], how much darker an object's edge is.
        slope: float64 [L, 2], brightness gradient over (u, v).
        outline: int64 [L]; turn: float64 [L, 2, 2], from (u, v) to the outline's coordinates.
        wave: float64 [L, 3], amplitude, frequency and phase by which an outline is bent.
    """

    image: IntArray
    level: IntArray
    place: FloatArray
    mix: FloatArray
    colour: FloatArray
    round_off: FloatArray
    slope: FloatArray
    outline: IntArray
    turn: FloatArray
    wave: FloatArray


def make_surfaces(
    rng: Generator, plan: BatchPlan, tile: IntArray, pool: TexturePool, options: BatchOptions
) -> Surfaces:
    """Surfaces for the layers of a plan, whose tiles are `tile` int [L, 2] texels wide and high."""
    count = len(plan.clip)
    # Parts of an object look alike: all take the choices of its first layer.
    pairs, index = np.unique(plan.clip * 1000 + plan.thing, return_index=True)
    leader = index[np.searchsorted(pairs, plan.clip * 1000 + plan.thing)]
    ground = index[np.searchsorted(pairs, plan.clip * 1000)]
    is_ground = plan.thing == 0
    detailed, smooth = pool.detailed.cpu().numpy(), pool.smooth.cpu().numpy()
    size = pool.size.cpu().numpy()
    sprite = pool.sprite.cpu().numpy()

    image = rng.choice(detailed, (count, 2))
    step = np.exp(rng.uniform(math.log(0.45), math.log(2.2), (count, 2)))
    step[is_ground] = np.exp(rng.uniform(math.log(0.5), math.log(1.6), (int(is_ground.sum()), 2)))
    # A plane larger than its image shows it mirrored, or magnified by up to two.
    room = (size[image, 0] / tile[:, None]).min(-1)
    step = np.where(is_ground[:, None], np.minimum(step, np.maximum(room, 0.5)), step)
    colour = _colours(rng, count)
    mix = np.where(rng.random(count) < 0.25, rng.uniform(0.2, 0.6, count), 0.0)
    outline, own = _outlines(rng, count, sprite, is_ground)
    # Hardly any texture: a smooth image, or another one magnified and faded.
    low = (rng.random(count) < options.low_texture) & ~is_ground
    plain = rng.random(count) < 0.6
    image[low & plain, 0] = rng.choice(smooth, int((low & plain).sum()))
    step[low & ~plain, 0] = rng.uniform(0.08, 0.2, int((low & ~plain).sum()))
    faded = np.where(plain, 1.0, rng.uniform(0.3, 0.6, count))[:, None, None] * colour
    faded[:, :, 3] += np.where(plain, 0.0, 1.0)[:, None] * (0.5 * (colour[..., :3] - faded[..., :3]).sum(-1))
    colour[low] = faded[low]
    mix[low] = 0
    hidden = (rng.random(count) < options.camouflage) & ~is_ground
    own &= ~low & ~hidden
    for rows, source in ((hidden, ground), (np.ones(count, bool), leader)):
        for field in (image, step, colour, mix):
            field[rows] = field[source[rows]]
    own = own[leader]
    # A limb has an outline of its own; only whole objects are sprites in their own colours.
    single = np.bincount(leader, minlength=count)[leader] == 1
    own &= single
    mix[own] = 0
    image[own, 0] = sprite[outline[own]]
    place, level = _places(rng, image, step, tile, size)
    place[own, 0], level[own, 0] = _whole(image[own, 0], tile[own], size)
    angle = rng.uniform(0, 2 * math.pi, count)
    angle[own | is_ground] = 0
    turn = rotation(angle)
    wave = np.stack([rng.uniform(0, 0.05, count), rng.uniform(2, 6, count), rng.uniform(0, 6.3, count)], 1)
    wave[own | is_ground, 0] = 0
    round_off = np.where(rng.random(count) < 0.7, rng.uniform(0.05, 0.4, count), 0.0)[leader] * ~is_ground
    slope = rng.normal(0, 0.12, (count, 2))[leader] * ~is_ground[:, None] * (options.light > 0)
    return Surfaces(image, level, place, mix, colour, round_off, slope, outline, turn, wave)


def _colours(rng: Generator, count: int) -> FloatArray:
    """Affine maps of colours: hue, saturation, contrast, brightness; now and then a negative."""
    hue = np.where(rng.random(count) < 0.35, rng.uniform(-math.pi, math.pi, count), rng.normal(0, 0.15, count))
    saturation = rng.uniform(0.4, 1.5, count)
    contrast = rng.uniform(0.65, 1.25, count) * np.where(rng.random(count) < 0.04, -1, 1)
    gain = np.exp(rng.normal(0, 0.12, (count, 3)))
    # A turn about the grey axis (Rodrigues' formula with axis (1, 1, 1) / sqrt 3).
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    c, s = np.cos(hue)[:, None, None], np.sin(hue)[:, None, None]
    turned = c * np.eye(3) + s * cross + (1 - c) / 3
    grey = np.tile(LUMA, (3, 1))
    vivid = saturation[:, None, None] * np.eye(3) + (1 - saturation[:, None, None]) * grey
    out = np.zeros((count, 3, 4))
    out[:, :, :3] = contrast[:, None, None] * gain[:, :, None] * (vivid @ turned)
    # About middle grey, then lighter or darker.
    out[:, :, 3] = 0.5 - 0.5 * out[:, :, :3].sum(-1) + rng.normal(0, 0.07, (count, 1))
    return out


def _outlines(rng: Generator, count: int, sprite: IntArray, is_ground: BoolArray) -> tuple[IntArray, BoolArray]:
    """An outline for every layer, and whether it keeps the colours of its sprite."""
    drawn, cut = np.flatnonzero(sprite < 0), np.flatnonzero(sprite >= 0)
    outline = rng.choice(drawn, count)
    from_sprite = (rng.random(count) < 0.5) & ~is_ground & (len(cut) > 0)
    if len(cut):
        outline = np.where(from_sprite, rng.choice(cut, count), outline)
    return outline, from_sprite & (rng.random(count) < 0.6)


def _places(
    rng: Generator, image: IntArray, step: FloatArray, tile: IntArray, size: IntArray
) -> tuple[FloatArray, IntArray]:
    """Crops at any place and angle: `step` pixels of the full image per texel."""
    level = np.clip(np.round(np.log2(step)), 0, LEVELS - 1).astype(np.int64)
    wide = size[image, level].astype(float)  # [L, 2, 2]
    angle = np.where(rng.random(image.shape) < 0.5, rng.normal(0, 0.12, image.shape), rng.uniform(0, 6.3, image.shape))
    rate = step / 2.0**level
    turn = rate[..., None, None] * rotation(angle)  # [L, 2, 2, 2]
    # A crop that fits lies within the image, a larger one is mirrored beyond it.
    half = 0.5 * (abs(turn) @ tile[:, None, :, None].astype(float))[..., 0]
    room = np.maximum(wide - 2 * half, 0)
    centre = np.where(room > 0, half + rng.random(wide.shape) * room, rng.random(wide.shape) * wide)
    shift = centre - (turn @ (tile[:, None, :, None] / 2))[..., 0]
    return np.concatenate([turn, shift[..., None]], -1), level


def _whole(image: IntArray, tile: IntArray, size: IntArray) -> tuple[FloatArray, IntArray]:
    """The whole image onto the whole tile."""
    ratio = size[image, 0] / tile
    level = np.clip(np.round(np.log2(ratio.max(-1, initial=1e-9))), 0, LEVELS - 1).astype(np.int64)
    rate = size[image, level] / tile
    place = np.zeros((len(image), 2, 3))
    place[:, 0, 0], place[:, 1, 1] = rate[:, 0], rate[:, 1]
    return place, level
