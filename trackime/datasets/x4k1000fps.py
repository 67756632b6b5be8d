"""X4K1000FPS, the test set (Sim et al. 2021, XVFI): 4K scenes of 33 frames at 1000 per second, for interpolation by 8.

Layout: ``TYPE/SCENE/0000.png`` .. ``0032.png``, with ``Type1`` .. ``Type3`` for TYPE.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from trackime.datasets._triples import between
from trackime.datasets.sample import Sample, existing_folder, list_images
from trackime.errors import FormatError, InputError

_FRAMES = 33
"""Frames per scene: the first and the last are inputs."""


def read(path: str | os.PathLike[str], factor: int = 8) -> Iterator[Sample]:
    """The scenes, by name: ``labels["kept"]`` is (0, 32), ``labels["targets"]`` is 4, 8 .. 28 for 8 times.

    Args:
        path: the folder that holds the types.
        factor: targets between the inputs, plus one: a divisor of 32.

    Raises:
        InputError: another factor.
        FormatError: no scenes; for one of another length when it is reached.
    """
    root, last = existing_folder(path), _FRAMES - 1
    if factor < 2 or last % factor:
        raise InputError(f"factor: expected one of 2, 4, 8, 16, 32, got {factor}")
    scenes = sorted(folder for folder in root.glob("*/*") if folder.is_dir())
    if not scenes:
        raise FormatError(f"{root}: expected the scenes of X4K1000FPS, TYPE/SCENE/0000.png, found none")
    for folder in scenes:
        count = len(list_images(folder))
        if count != _FRAMES:
            raise FormatError(f"{folder}: expected a scene of {_FRAMES} frames, got {count}")
    return (between(f"{folder.parent.name}/{folder.name}", folder, last, last // factor) for folder in scenes)
