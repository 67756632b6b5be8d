"""Images and outlines of training worlds, loaded or generated once."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.arrays import FloatArray
from trackime.errors import InputError
from trackime.worlds import _textures as textures
from trackime.worlds._options import check_whole
from trackime.worlds.layers import _shapes as shapes

LEVELS = 4
"""Mip levels of every image, each half the size of the one before."""

OUTLINE = 96
"""Outlines are signed distances on a square of this many samples per side."""

REACH = 1.1
"""That square spans -REACH .. REACH; the outline lies in the disc of radius 1."""

_HELD_OUT = 0.15
"""Share of a folder's images whose sources are kept for validation."""

_OUTLINES = ("blob", "polygon", "blob", "animal", "polygon", "ring", "blob", "hand")
"""Silhouettes in turn: simple ones more often than those with thin parts."""

_SPLITS = ("train", "val", "all")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True, eq=False)
class TexturePool:
    """Images of surfaces, and outlines of objects, in a few flat tensors on one device.

    Attributes:
        texels: int32 [M], red + 256 green + 65536 blue; all levels of all images, row by row.
        first: int64 [F, LEVELS], where a level of an image begins.
        size: int64 [F, LEVELS, 2], its width and height.
        detailed: int64 [...], images that can be tracked, any of the F.
        smooth: int64 [...], images nearly without texture.
        outlines: float32 [S, OUTLINE, OUTLINE], signed distances in units of the object's half-size, positive inside.
        sprite: int64 [S], the image that belongs to an outline and fills its square; -1 for none.
        sources: names of its sources (and seeds).
    """

    texels: Tensor
    first: Tensor
    size: Tensor
    detailed: Tensor
    smooth: Tensor
    outlines: Tensor
    sprite: Tensor
    sources: tuple[str, ...]

    def to(self, device: str | torch.device) -> TexturePool:
        """The same pool on a device."""
        target = torch.device(device)
        if self.texels.device == target:
            return self
        names = ("texels", "first", "size", "detailed", "smooth", "outlines", "sprite")
        return replace(self, **{name: getattr(self, name).to(target) for name in names})

    @classmethod
    def procedural(
        cls, seed: int = 0, count: int = 60, outlines: int = 120, side: int = 320, split: str = "train"
    ) -> TexturePool:
        """Textures and silhouettes of `make_world`, nothing downloaded.

        Args:
            seed: 0 or more.
            count: how many textures, 2 or more; one in eight is nearly smooth.
            outlines: how many silhouettes, 1 or more.
            side: of each texture in pixels, 32 or more.
            split: "train" or "val" (and "all"): no texture or silhouette is in two of them.

        Raises:
            InputError: a value outside those.
        """
        return _pack(_procedural(seed, count, outlines, side, split))

    @classmethod
    def from_folders(
        cls,
        images: str | Path | None = None,
        sprites: str | Path | None = None,
        split: str = "train",
        side: int = 448,
        seed: int = 0,
        count: int = 60,
        outlines: int = 120,
    ) -> TexturePool:
        """Photographs and cut-outs from folders, plus `procedural` ones.

        A folder is searched through all levels. Where it has a sources.csv (columns `file`, and `repo` or `source`)
        the source of an image is the owner of its repository, else its subfolder, else its name up to the first "_".
        Sources are held out whole: "train" has none that "val" has.

        Args:
            images: folder of photographs.
            sprites: folder of images with alpha.
            split: "train", "val" (`_HELD_OUT` of the images, as near as whole sources allow) or "all".
            side: larger images are made smaller, to this many pixels along the longer side.
            seed: see `procedural`.
            count: see `procedural`.
            outlines: see `procedural`.

        Raises:
            InputError: a value outside those, a folder that is none or holds no image, an image that cannot be read.
        """
        parts = _procedural(seed, count, outlines, 320, split)
        for folder, has_alpha in ((images, False), (sprites, True)):
            if folder is None:
                continue
            for path, source in _list_images(Path(folder), split):
                image = _read(path, side, has_alpha)
                parts.sources.add(source)
                if has_alpha:
                    parts.add_sprite(image)
                else:
                    parts.detailed.append(len(parts.images))
                    parts.images.append(image[:3])
        return _pack(parts)


@lru_cache(maxsize=2)
def default_pool(device: torch.device) -> TexturePool:
    """The pool of worlds without their own."""
    return TexturePool.procedural().to(device)


def _list_images(folder: Path, split: str) -> list[tuple[Path, str]]:
    """Images of one split of a folder and their sources, by name; see `TexturePool.from_folders`."""
    _check_split(split)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of images")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise InputError(f"{folder}: expected images ({', '.join(_SUFFIXES)}), found none")
    named = _sources(folder)
    sources: list[str] = []
    for path in paths:
        name = path.relative_to(folder)
        inner = name.parts[0] if len(name.parts) > 1 else name.stem.split("_")[0]
        sources.append(named.get(name.as_posix(), inner))
    held = _hold_out(sources)
    wanted = {"train": {False}, "val": {True}, "all": {False, True}}[split]
    return [(p, s) for p, s in zip(paths, sources, strict=True) if (s in held) in wanted]


def _hold_out(sources: Sequence[str]) -> set[str]:
    """The sources kept for validation, of one name per image: some of them, so that they hold about `_HELD_OUT` of all.

    Sources are taken in the order of a hash of their names, each if it brings the share closer to the target.
    """
    names = sorted(set(sources), key=lambda name: hashlib.sha256(f"held out: {name}".encode()).hexdigest())
    share, held = 0.0, set()
    for name in names[: max(0, len(names) - 1)] if len(names) > 1 else []:
        with_it = share + sources.count(name) / len(sources)
        if abs(with_it - _HELD_OUT) < abs(share - _HELD_OUT):
            share = with_it
            held.add(name)
    return held


def _sources(folder: Path) -> dict[str, str]:
    table = folder / "sources.csv"
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["file"]: (row.get("repo") or row.get("source") or "?").split("/")[0] for row in rows}


def _read(path: Path, side: int, has_alpha: bool) -> FloatArray:
    """An image, float32 [3 or 4, h, w] in [0, 1]."""
    import cv2

    raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise InputError(f"{path}: expected an image, could not read it")
    if raw.dtype == np.uint16:
        raw = (raw // 257).astype(np.uint8)
    raw = raw[..., None] if raw.ndim == 2 else raw
    if has_alpha and raw.shape[2] != 4:
        raise InputError(f"{path}: expected an image with alpha, it has {raw.shape[2]} channels")
    if raw.shape[2] < 3:
        raw = np.repeat(raw[..., :1], 3, 2)
    image = np.concatenate([raw[..., 2::-1], raw[..., 3:]], 2)[..., : 4 if has_alpha else 3]
    longer = max(image.shape[:2])
    if longer > side:
        w, h = (max(8, round(v * side / longer)) for v in (image.shape[1], image.shape[0]))
        image = cv2.resize(np.ascontiguousarray(image), (w, h), interpolation=cv2.INTER_AREA)
    out: FloatArray = np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / 255
    return out


class _Parts:
    """Images and outlines before packing."""

    def __init__(self) -> None:
        self.images: list[FloatArray] = []
        self.detailed: list[int] = []
        self.smooth: list[int] = []
        self.outlines: list[FloatArray] = []
        self.sprite: list[int] = []
        self.sources: set[str] = set()

    def add_sprite(self, image: FloatArray) -> None:
        """A cut-out [4, h, w]: its colours, extended beyond its edge, and its silhouette."""
        from scipy.ndimage import distance_transform_edt, zoom

        inside = image[3] > 0.5
        if not inside.any() or inside.all():
            return
        rows, columns = np.nonzero(inside.any(1))[0], np.nonzero(inside.any(0))[0]
        y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        # The silhouette's corners may reach the circle of radius 1: half the diagonal is the unit.
        unit = 0.5 * float(np.hypot(y1 - y0, x1 - x0))
        half = int(np.ceil(REACH * unit))
        cy, cx = (y0 + y1) // 2, (x0 + x1) // 2
        square = np.zeros((4, 2 * half, 2 * half), np.float32)
        ty, tx = half - (cy - y0), half - (cx - x0)
        square[:, ty : ty + y1 - y0, tx : tx + x1 - x0] = image[:, y0:y1, x0:x1]
        solid = square[3] > 0.5
        outward, nearest = distance_transform_edt(~solid, return_indices=True)
        inward = distance_transform_edt(solid)
        # The edge runs between pixels: half a pixel from the centres to both sides.
        distance = (np.where(solid, inward - 0.5, 0.5 - outward) * (REACH / half)).astype(np.float32)
        small = zoom(distance, OUTLINE / len(distance), order=1, grid_mode=True, mode="nearest")
        self.outlines.append(small.astype(np.float32))
        self.sprite.append(len(self.images))
        self.images.append(square[:3][:, nearest[0], nearest[1]])


def _check_split(split: str) -> None:
    if split not in _SPLITS:
        raise InputError(f"split: expected one of {', '.join(_SPLITS)}, got {split!r}")


def _procedural(seed: int, count: int, outlines: int, side: int, split: str) -> _Parts:
    check_whole(seed=(seed, 0), count=(count, 2), outlines=(outlines, 1), side=(side, 32))
    _check_split(split)
    parts = _Parts()
    for part in ("train", "val") if split == "all" else (split,):
        stream = _SPLITS.index(part)
        parts.sources.add(f"procedural {part} {seed}")
        for k in range(count):
            rng = np.random.default_rng([seed, stream, 0, k])
            palette = textures.make_palette(rng, rng.random(), rng.uniform(0.1, 0.8))
            kind = "smooth" if k % 8 == 7 else textures.KINDS[k % 8 % len(textures.KINDS)]
            (parts.smooth if kind == "smooth" else parts.detailed).append(len(parts.images))
            grain = 256 * float(np.exp(rng.uniform(np.log(0.03), np.log(0.16))))
            parts.images.append(textures.make_texture(rng, kind, side, side, grain, palette))
        v, u = (np.mgrid[:OUTLINE, :OUTLINE] + 0.5) * (2 * REACH / OUTLINE) - REACH
        for k in range(outlines):
            parts.outlines.append(_fit(_OUTLINES[k % len(_OUTLINES)], [seed, stream, 1, k], u, v))
            parts.sprite.append(-1)
    if not parts.smooth:
        parts.smooth = list(parts.detailed)
    return parts


def _fit(kind: str, seed: list[int], u: FloatArray, v: FloatArray) -> FloatArray:
    """An outline that lies in the disc of radius 1, some of which reach a little beyond it when made."""
    distance = shapes.make_shape(np.random.default_rng(seed), kind, u, v)
    reach = np.hypot(u, v)[distance > -0.02].max(initial=0.0)
    factor = max(1.0, float(reach) / 0.98)
    if factor == 1:
        return distance
    wider = shapes.make_shape(np.random.default_rng(seed), kind, u * factor, v * factor)
    return (wider / factor).astype(np.float32)


def _pack(parts: _Parts) -> TexturePool:
    first = np.zeros((len(parts.images), LEVELS), np.int64)
    size = np.zeros((len(parts.images), LEVELS, 2), np.int64)
    texels: list[Tensor] = []
    total = 0
    for k, image in enumerate(parts.images):
        level = torch.from_numpy(np.ascontiguousarray(image))[None]
        if min(level.shape[-2:]) < 2**LEVELS:
            # Every level needs two pixels per side to look between.
            h, w = (max(2**LEVELS, v) for v in level.shape[-2:])
            level = F.interpolate(level, (h, w), mode="bilinear", align_corners=False)
        for n in range(LEVELS):
            if n:
                h, w = (max(1, v // 2) for v in level.shape[-2:])
                level = F.interpolate(level, (h, w), mode="area")
            first[k, n], size[k, n] = total, (level.shape[-1], level.shape[-2])
            red, green, blue = (level[0] * 255 + 0.5).clamp(0, 255).to(torch.int32).flatten(1)
            texels.append(red + (green << 8) + (blue << 16))
            total += len(red)
    return TexturePool(
        torch.cat(texels),
        torch.from_numpy(first),
        torch.from_numpy(size),
        torch.tensor(parts.detailed),
        torch.tensor(parts.smooth),
        torch.from_numpy(np.stack(parts.outlines)),
        torch.tensor(parts.sprite),
        tuple(sorted(parts.sources)),
    )
