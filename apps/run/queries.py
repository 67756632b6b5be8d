"""The points to track, from every kind of option, and the files that options name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trackime.arrays import UInt8, ids_at
from trackime.errors import InputError
from trackime.types import Queries, Tracks, VideoInfo

from .prompts import Prompt, read_prompts, to_queries

_STEP = 16.0
"""Default spacing of a grid, pixels."""


def gather_queries(
    info: VideoInfo,
    prompts: Sequence[Prompt] = (),
    file: Path | None = None,
    grid: float | None = None,
    mask: Path | None = None,
) -> Queries:
    """Typed points, then a file's, then a grid of the first frame; by default a grid every 16 px.

    Args:
        info: the video.
        prompts: typed points.
        file: more of them, one a line.
        grid: spacing of a grid in pixels.
        mask: PNG of ids; only the grid's points on objects are taken, with their id as instance.

    Raises:
        InputError: a point outside the video or off the object, a file without any, a mask of another size or with
            nothing on it.
        FormatError: a file that cannot be read.
    """
    listed = read_prompts(file) if file is not None else []
    if file is not None and not listed:
        raise InputError(f"{file}: expected at least one point, got none")
    typed = [*prompts, *listed]
    for prompt in typed:
        if not prompt.positive:
            raise InputError(f"point {prompt.text!r}: a point off the object (-) cannot be tracked; vos takes those")
    parts = [to_queries(typed)[0]]
    if mask is not None:
        parts.append(_mask_grid(read_ids(mask, info), grid or _STEP))
    elif grid is not None or not typed:
        parts.append(Queries.grid(info.width, info.height, _STEP if grid is None else grid))
    queries = Queries.concat(parts)
    queries.check(info)
    return queries


def read_ids(path: Path, info: VideoInfo) -> UInt8:
    """uint8 [H, W] ids of a mask PNG that must have the video's size and hold an object.

    Raises:
        InputError: another size, or no object in it.
        FormatError: no mask.
    """
    from trackime.video import read_mask

    ids = read_mask(path)
    if ids.shape != (info.height, info.width):
        expected = f"{info.width}x{info.height}"
        raise InputError(f"{path}: expected a mask of the video's {expected}, got {ids.shape[1]}x{ids.shape[0]}")
    if not ((ids > 0) & (ids < 255)).any():
        raise InputError(f"{path}: expected an object (a value of 1 .. 254), got an empty mask")
    return ids


def _mask_grid(ids: UInt8, step: float) -> Queries:
    """The points of a grid of frame 0 that lie on objects; of an object between them its innermost pixel.

    Args:
        ids: uint8 [H, W], 0 background, 255 void.
        step: spacing in pixels.
    """
    import cv2

    grid = Queries.grid(ids.shape[1], ids.shape[0], step)
    at = ids_at(ids, grid.xy, 0).astype(np.int32)
    on = (at > 0) & (at < 255)
    parts = [Queries(grid.xyt[on], at[on])]
    for k in sorted(set(np.unique(ids).tolist()) - {0, 255} - set(at.tolist())):
        inside = cv2.copyMakeBorder((ids == k).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        y, x = np.unravel_index(cv2.distanceTransform(inside, cv2.DIST_L2, 3).argmax(), inside.shape)
        centre = np.array([(x - 0.5, y - 0.5, 0)])  # less the border of 1, plus half a pixel
        parts.append(Queries(centre, np.array([k])))
    return Queries.concat(parts)


def load_tracks(path: Path, info: VideoInfo) -> Tracks:
    """Tracks of a file in any format that loads, which must be of a video of this size and length.

    Raises:
        InputError: tracks of another video.
        FormatError: no such file, or not tracks.
    """
    from trackime import formats

    tracks = formats.load(path)
    tracks.check(info, str(path))
    return Tracks(tracks.xy, tracks.visibility, tracks.queries, info)
