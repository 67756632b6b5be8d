"""Cut-outs moved over real clips: video with true masks and tracks, for tuning object segmentation.

In every composite the first object passes behind a pillar cut from the clip itself and is hidden for a while; the
second turns, so that its surface of the first frame is gone by the last. Cut-outs with a clip's own texture
(camouflage) alternate with their own colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trackime.types import Queries, Tracks, VideoInfo
from trackime.video import open_video
from trackime.worlds import make_world

Float = npt.NDArray[Any]
Ids = npt.NDArray[np.uint8]

SPRITE = 160
"""Side in pixels cut-outs are brought to."""


@dataclass(frozen=True, eq=False)
class Film:
    """A video with the truth about its objects.

    Attributes:
        name: what it is.
        frames: uint8 [T, H, W, 3].
        masks: uint8 [T, H, W] ids.
        truth: what makes true tracks of queries; their instance is kept.
    """

    name: str
    frames: npt.NDArray[np.uint8]
    masks: Ids
    truth: Any


@dataclass(frozen=True, eq=False)
class _Object:
    """A cut-out: texture float [S, L, 3] whose first columns repeat, alpha [S, S], poses [T, 2, 3], scroll [T]."""

    texture: Float
    alpha: Float
    poses: Float
    scroll: Float

    def draw(self, t: int, size: tuple[int, int]) -> tuple[Float, Float]:
        """Colours [H, W, 3] and coverage [H, W] in frame t."""
        columns = (np.arange(SPRITE) + round(float(self.scroll[t]))) % self.texture.shape[1]
        shape = (size[1], size[0])
        pose = self.poses[t]
        image = cv2.warpAffine(self.texture[:, columns], pose, shape, flags=cv2.INTER_LINEAR)
        return image, cv2.warpAffine(self.alpha, pose, shape, flags=cv2.INTER_LINEAR)

    def follow(self, xy: Float, t: int) -> tuple[Float, npt.NDArray[np.bool_]]:
        """Points [N, 2] of frame t in all frames [N, T, 2], and whether they face the camera [N, T]."""
        back = cv2.invertAffineTransform(self.poses[t])
        local = (xy - 0.5) @ back[:, :2].T + back[:, 2]
        moved = np.round(self.scroll) - np.round(self.scroll[t])
        place = np.stack([local[:, None, 0] - moved, np.repeat(local[:, 1:], len(moved), 1)], -1)
        there = np.einsum("tij,ntj->nti", self.poses[:, :, :2], place) + self.poses[None, :, :, 2] + 0.5
        return there, (place[..., 0] > 0) & (place[..., 0] < SPRITE - 1)


def composites(
    clips: Path, sprites: Path, count: int, size: tuple[int, int] = (432, 240), frames: int = 48
) -> Iterator[Film]:
    """Composites of seeds 0 .. count - 1.

    Args:
        clips: folder of videos; those that may be used.
        sprites: folder of folders of RGBA pictures.
        size: (width, height).
    """
    videos = sorted(clips.glob("*.mp4"))
    pictures = sorted(sprites.glob("*/*.webp"))
    for seed in range(count):
        clip = _clip(videos[seed % len(videos)], size, frames)
        yield _composite(seed, clip, pictures)


def worlds(count: int, size: tuple[int, int] = (432, 240), frames: int = 48) -> Iterator[Film]:
    """Procedural worlds of three objects that occlude each other, seeds 100 and on."""
    made = 0
    seed = 100
    while made < count:
        world = make_world(
            seed=seed, width=size[0], height=size[1], frames=frames, objects=3, occlusion=1.0, size=(0.25, 0.45)
        )
        seed += 1
        masks = np.asarray(world.masks, np.uint8)
        if min((masks[0] == k).sum() for k in (1, 2, 3)) < 150:
            continue
        made += 1
        yield Film(f"world {seed - 1}", np.asarray(world.video), masks, world.track)


def _clip(path: Path, size: tuple[int, int], frames: int) -> Float:
    with open_video(path) as video:
        read = [video[t] for t in range(frames)]
    return np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in read])


def _composite(seed: int, clip: npt.NDArray[np.uint8], pictures: Sequence[Path]) -> Film:
    rng = np.random.default_rng(seed)
    total, height, width = clip.shape[:3]
    grain = cv2.flip(clip[total // 2], -1)
    side = 0.42 * height
    u = np.linspace(0, 1, total)
    sway = 0.06 * height * np.sin(2 * np.pi * (u * rng.uniform(0.6, 1.4) + rng.random()))
    across = width * (0.16 + 0.68 * (u if seed % 2 else 1 - u))
    passing = np.stack([across, 0.36 * height + sway], 1)
    up = np.stack([width * (0.5 + 0.28 * np.sin(2 * np.pi * (0.7 * u + rng.random()))), 0.74 * height - sway], 1)
    objects = []
    for k, path in enumerate((passing, up)):
        angle = np.deg2rad(rng.uniform(15, 35)) * np.sin(2 * np.pi * u * rng.uniform(0.3, 0.9) + rng.uniform(0, 6))
        scale = side / SPRITE * np.exp(0.2 * np.sin(2 * np.pi * u * rng.uniform(0.3, 0.8)))
        scroll = np.zeros(total) if k == 0 else 0.9 * SPRITE * u
        picture = _picture(pictures[int(rng.integers(len(pictures)))])
        other = _picture(pictures[int(rng.integers(len(pictures)))])
        own = picture[..., :3]
        if (seed // 2 + k) % 2:
            y, x = rng.integers(0, height - 100), rng.integers(0, width - 200)
            crop = cv2.resize(grain[y : y + 100, x : x + 200], (2 * SPRITE, SPRITE)).astype(np.float32)
            own, back = crop[:, :SPRITE] * 0.85 + rng.uniform(0, 30, 3), crop[:, SPRITE:] * 0.85 + rng.uniform(0, 30, 3)
        else:
            back = other[..., :3]
        texture = np.concatenate([own, back], 1).astype(np.float32)
        objects.append(_Object(texture, picture[..., 3], _poses(path, angle, scale), scroll))
    pillar = slice(round(0.5 * width - 0.85 * side), round(0.5 * width + 0.85 * side))
    top = round(0.36 * height + 0.9 * side)
    films, masks = [], []
    for t in range(total):
        frame = clip[t].astype(np.float32)
        ids = np.zeros((height, width), np.uint8)
        for k in (0, None, 1):
            if k is None:
                frame[:top, pillar], ids[:top, pillar] = grain[:top, pillar], 0
                continue
            colour, cover = objects[k].draw(t, (height, width))
            frame = frame * (1 - cover[..., None]) + colour * cover[..., None]
            ids[cover > 0.5] = k + 1
        noisy = frame + rng.normal(0, 2, frame.shape)
        films.append(noisy.clip(0, 255).astype(np.uint8))
        masks.append(ids)
    shown = np.stack(masks)

    def truth(queries: Queries) -> Tracks:
        xy = np.repeat(queries.xy[:, None].astype(np.float64), total, 1)
        at = np.floor(queries.xy).astype(int)
        owner = shown[queries.t, at[:, 1], at[:, 0]]
        seen = np.ones((len(queries), total), bool)
        for k, thing in enumerate(objects):
            for t in np.unique(queries.t):
                rows = np.flatnonzero((owner == k + 1) & (queries.t == t))
                if len(rows):
                    xy[rows], seen[rows] = thing.follow(queries.xy[rows].astype(np.float64), int(t))
        place = np.floor(xy).astype(int)
        inside = ((place >= 0) & (place < [width, height])).all(-1)
        place = place.clip(0, [width - 1, height - 1])
        seen &= inside & (shown[np.arange(total)[None], place[..., 1], place[..., 0]] == owner[:, None])
        return Tracks(xy, seen.astype(np.float32), Queries(queries.xyt, owner), VideoInfo.regular(width, height, total))

    return Film(f"composite {seed}", np.stack(films), shown, truth)


def _picture(path: Path) -> Float:
    """RGBA float32 [S, S, 4], alpha in [0, 1]."""
    bgra = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    square = cv2.resize(bgra, (SPRITE, SPRITE), interpolation=cv2.INTER_AREA).astype(np.float32)
    square = np.pad(square[2:-2, 2:-2], ((2, 2), (2, 2), (0, 0)))
    alpha = square[..., 3:] / 255 if square.shape[2] == 4 else np.ones((SPRITE, SPRITE, 1), np.float32)
    # Where nothing is drawn a turned surface still has a colour.
    mean = (square[..., 2::-1] * alpha).sum((0, 1)) / alpha.sum()
    return np.concatenate([square[..., 2::-1] * alpha + mean * (1 - alpha), alpha], -1)


def _poses(path: Float, angle: Float, scale: Float) -> Float:
    """Affine maps [T, 2, 3] from a cut-out's pixels to the frame's, its centre on `path` [T, 2]."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], 1)
    shift = path - linear @ np.array([SPRITE / 2, SPRITE / 2])
    return np.concatenate([linear, shift[..., None]], -1)
