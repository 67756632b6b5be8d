"""SportsSloMo (Chen, Jiang 2024): people at sports at 240 frames per second, for interpolation by 8.

Layout: ``clip_0000/frame_0000.png`` ..., and the published list ``vfi_test.txt``, one file per line, nine per sample:
the first and the ninth are inputs, the seven between are targets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from trackime.datasets._triples import below, between, entries, frames
from trackime.datasets.sample import Sample, existing_folder
from trackime.errors import FormatError

_LENGTH = 9


def read(path: str | os.PathLike[str], split: str | os.PathLike[str] = "test") -> Iterator[Sample]:
    """The samples of a list, one at a time: ``labels["kept"]`` is (0, 8), ``labels["targets"]`` is 1 .. 7.

    Args:
        path: the folder of clips.
        split: "test" or "train" for a ``vfi_SPLIT.txt`` in the folder, in its ``splits`` or in the one beside it; or
            the path of a list (``.txt``).

    Raises:
        FormatError: no such list, or one whose length is no multiple of nine; for files that are missing when reached.
    """
    root = existing_folder(path)
    name = f"vfi_{split}.txt"
    lists = [root / name, root / "splits" / name, root.parent / "splits" / name]
    if Path(split).suffix:
        lists = [Path(split)]
    file = next((p for p in lists if p.is_file()), lists[0])
    names = [row[0] for row in entries(file, "SportsSloMo")]
    if len(names) % _LENGTH:
        raise FormatError(f"{file}: expected {_LENGTH} files per sample, got {len(names)} lines")

    def sample(first: int) -> Sample:
        paths = [below(root, name, str(file)) for name in names[first : first + _LENGTH]]
        return between(f"{paths[0].parent.name}/{paths[0].stem}", frames(paths), _LENGTH - 1)

    return (sample(first) for first in range(0, len(names), _LENGTH))
