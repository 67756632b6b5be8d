"""Videos with true masks to score object segmentation on: data sets, worlds, and objects pasted into other videos."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from trackime import datasets
from trackime.datasets import Sample
from trackime.errors import FormatError, InputError
from trackime.types import Queries, Tracks
from trackime.video import Video, open_video
from trackime.worlds import curve, make_world, similarity, wander

Array = np.ndarray

LEAST = 0.001
"""An object that shows less than this share of the first frame is left out: its appearance could not be learned."""


@dataclass(frozen=True, eq=False)
class Case:
    """A video, its true masks, and the objects that are followed.

    Attributes:
        name: of the sequence.
        video: the frames.
        truth: T masks uint8 [H, W] of ids, 0 background, 255 void.
        ids: the objects followed and scored.
        track: makes true tracks of queries; None where the truth is not known.
    """

    name: str
    video: Video
    truth: Sequence[Array]
    ids: tuple[int, ...]
    track: Callable[[Queries], Tracks] | None = None

    @property
    def first(self) -> Array:
        """The mask uint8 [H, W] that is given: frame 0, the objects followed alone."""
        return np.where(np.isin(self.truth[0], self.ids), self.truth[0], 0).astype(np.uint8)


def _case(name: str, video: Video, truth: Sequence[Array], least: float = 0.0) -> Case | None:
    """A case of the objects of the first frame that are large enough; None where there is none."""
    seen, area = np.unique(truth[0], return_counts=True)
    ids = [int(k) for k, n in zip(seen, area, strict=True) if k not in (0, 255) and n >= least * truth[0].size]
    return Case(name, video, truth, tuple(ids)) if ids else None


def davis(
    path: str, split: str | None, year: int | None, names: Sequence[str], pairs: Sequence[str], scale: float
) -> Iterator[Case]:
    """Sequences of DAVIS, or, with `pairs` of names ``A,B``, the objects of B pasted over A.

    Args:
        path, split, year: as `trackime.datasets.davis.read` takes them; year 2016: all objects of a sequence are one.
        names: only these sequences; none: all.
        pairs: names of two sequences each.
        scale: frames and masks are resized by this before anything else.

    Raises:
        InputError: a pair that is not two names.
        FormatError: a data set that cannot be read or scored.
    """

    def read(wanted: Sequence[str] | None) -> Iterator[Case]:
        return samples(datasets.read("davis", path, split=split, year=year, names=wanted), scale, year == 2016)

    if not pairs:
        return read(names or None)
    parts = [[name.strip() for name in text.split(",")] for text in pairs]
    for text, both in zip(pairs, parts, strict=True):
        if len(both) != 2:
            raise InputError(f"--pair {text!r}: expected the names of two sequences, A,B")
    return (pair(*(next(read([name])) for name in both)) for both in parts)


def samples(found: Iterable[Sample], scale: float = 1.0, merge: bool = False) -> Iterator[Case]:
    """Sequences of a data set, resized by `scale`; `merge`: all objects are one, as DAVIS-2016 counts them.

    Raises:
        FormatError: a sequence whose masks are not all there, or that has no object in its first frame.
    """
    for sample in found:
        masks = sample.masks
        if masks is None or len(masks.annotated) < len(masks):
            known = 0 if masks is None else len(masks.annotated)
            raise FormatError(f"{sample.name}: expected a true mask of every frame to score against, found {known}")
        video, truth = open_video(sample.video), [np.asarray(masks[t]) for t in range(len(masks))]
        if merge:
            truth = [np.where((m > 0) & (m < 255), 1, m).astype(np.uint8) for m in truth]
        if scale != 1:
            size = (round(video.info.width * scale), round(video.info.height * scale))
            video = _resized(video, size, len(video))
            truth = [np.asarray(cv2.resize(m, size, interpolation=cv2.INTER_NEAREST)) for m in truth]
        case = _case(sample.name, video, truth)
        if case is None:
            raise FormatError(f"{sample.name}: expected an object in the first frame's mask, found none")
        yield case


def _resized(video: Video, size: tuple[int, int], frames: int) -> Video:
    pictures = [cv2.resize(video[t], size, interpolation=cv2.INTER_AREA) for t in range(frames)]
    return open_video(np.stack(pictures))


def worlds(count: int, size: tuple[int, int], frames: int, objects: int) -> Iterator[Case]:
    """Procedural worlds of seeds 0 .. count - 1; those whose first frame shows no object are left out."""
    for seed in range(count):
        world = make_world(seed=seed, width=size[0], height=size[1], frames=frames, objects=objects)
        case = _case(f"world {seed}", open_video(world.video), world.masks, LEAST)
        if case is not None:
            yield replace(case, track=world.track)


def pair(below: Case, above: Case) -> Case:
    """The object of one sequence pasted over another sequence: ids 1 (below) and 2 (pasted), as long as both last.

    Raises:
        InputError: sequences of different size.
    """
    sizes = [(case.video.info.width, case.video.info.height) for case in (below, above)]
    if sizes[0] != sizes[1]:
        raise InputError(f"{below.name}, {above.name}: expected sequences of one size, got {sizes[0]} and {sizes[1]}")
    frames, truth = [], []
    for t in range(min(len(below.truth), len(above.truth))):
        on, under = np.isin(above.truth[t], above.ids), np.isin(below.truth[t], below.ids)
        frames.append(np.where(on[..., None], above.video[t], below.video[t]))
        truth.append(np.where(on, 2, under).astype(np.uint8))
    made = _case(f"{above.name} over {below.name}", open_video(np.stack(frames)), truth)
    assert made is not None
    return made


def composites(
    clips: Sequence[str], sprites: str, count: int, size: tuple[int, int], frames: int, objects: int
) -> Iterator[Case]:
    """Cut-outs that move, turn, grow and cover each other before real clips, `count` for each clip.

    Args:
        clips: videos; their first `frames` frames, resized to `size`.
        sprites: a folder of pictures with an alpha channel.
        count: composites of each clip.
        size: (width, height).
        frames: at most.
        objects: in each.

    Raises:
        FormatError: no pictures with alpha.
        VideoError: a clip that cannot be read.
    """
    files = sorted(f for f in Path(sprites).rglob("*") if f.suffix.lower() in (".webp", ".png"))
    if not files:
        raise FormatError(f"{sprites}: expected pictures with an alpha channel (.webp, .png), found none")
    for number, clip in enumerate(clips):
        with open_video(clip) as video:
            ground = _resized(video, size, min(frames, len(video)))
        for seed in range(count):
            rng = np.random.default_rng([number, seed])
            chosen = [files[k] for k in rng.choice(len(files), min(objects, len(files)), replace=False)]
            made = _composite(rng, ground, chosen)
            case = _case(f"{Path(clip).stem} {seed}", *made, LEAST)
            if case is not None:
                yield case


def _composite(rng: np.random.Generator, ground: Video, files: Sequence[Path]) -> tuple[Video, list[Array]]:
    """Frames and masks of sprites before a video, the later ones above."""
    width, height, frames = ground.info.width, ground.info.height, len(ground)
    pictures, truth = ground.read(0, frames), [np.zeros((height, width), np.uint8) for _ in range(frames)]
    for identity, file in enumerate(files, 1):
        sprite = _sprite(file, rng.uniform(0.25, 0.55) * min(width, height))
        centre = rng.uniform([0.15 * width, 0.15 * height], [0.85 * width, 0.85 * height])
        speed = 2.5 * math.exp(rng.normal(0, 0.8)) * math.sqrt(width * height) / 256
        path = wander(rng, frames, speed, (0, centre), (0, 0, width, height), bool(rng.random() < 0.2))
        scale, turn = np.exp(0.3 * curve(rng, frames)), math.radians(40) * curve(rng, frames)
        matrices = similarity(path, scale / scale[0], turn, np.exp(0.08 * curve(rng, frames)))
        middle = np.array([[1, 0, -sprite.shape[1] / 2], [0, 1, -sprite.shape[0] / 2], [0, 0, 1]])
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV's pixel centres lie on integers
        for t in range(frames):
            whole = np.linalg.inv(half) @ matrices[t] @ middle @ half
            moved = cv2.warpAffine(sprite, whole[:2], (width, height), flags=cv2.INTER_LINEAR)
            alpha = moved[..., 3:]
            pictures[t] = np.round(moved[..., :3] + (1 - alpha) * pictures[t]).clip(0, 255)
            truth[t][alpha[..., 0] > 0.5] = identity
    return open_video(pictures), truth


def _sprite(file: Path, side: float) -> Array:
    """A cut-out [h, w, 4], colours multiplied by alpha 0 .. 1, its longer side `side` pixels."""
    from PIL import Image

    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGBA"), np.float32)
    alpha = pixels[..., 3:] / 255
    rows, columns = np.flatnonzero((alpha > 0.02).any((1, 2))), np.flatnonzero((alpha > 0.02).any((0, 2)))
    if not len(rows):
        raise FormatError(f"{file}: expected a picture with something opaque in it, found nothing")
    cut = np.concatenate([pixels[..., :3] * alpha, alpha], 2)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    shrink = side / max(cut.shape[:2])
    size = (max(2, round(cut.shape[1] * shrink)), max(2, round(cut.shape[0] * shrink)))
    small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if shrink < 1 else cv2.INTER_LINEAR)
    return np.asarray(np.pad(small, ((1, 1), (1, 1), (0, 0))))  # so that its border is antialiased, too
