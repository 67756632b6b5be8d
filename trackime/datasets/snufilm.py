"""SNU-FILM (Choi et al. 2020): triplets at four distances in time, hence four difficulties.

Layout: ``eval_modes/test-easy.txt`` (medium, hard, extreme) with three files per line, first, middle, last, named below
the folder (``GOPRO_test/...``, ``YouTube_test/...``) or below their author's (``data/SNU-FILM/test/...``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from trackime.datasets._triples import below, between, entries, frames
from trackime.datasets.sample import Sample, existing_folder
from trackime.errors import FormatError, InputError

MODES = ("easy", "medium", "hard", "extreme")


def read(path: str | os.PathLike[str], split: str | None = None) -> Iterator[Sample]:
    """The triplets, one at a time: ``labels["kept"]`` is (0, 2), ``labels["targets"]`` is (1,).

    Args:
        path: the folder that holds ``eval_modes``.
        split: one of `MODES`; None: all of them, in this order. Names begin with it.

    Raises:
        InputError: an unknown split.
        FormatError: no such list, a line that is not three files; for files that are missing when reached.
    """
    root = existing_folder(path)
    if split is not None and split not in MODES:
        raise InputError(f"split: expected one of {', '.join(MODES)}, got {split!r}")
    rows: list[tuple[str, Path, list[str]]] = []
    for mode in MODES if split is None else (split,):
        file = root / "eval_modes" / f"test-{mode}.txt"
        for row in entries(file, "SNU-FILM"):
            if len(row) != 3:
                raise FormatError(f"{file}: expected three files per line, got {len(row)}: {' '.join(row)[:100]!r}")
            rows.append((mode, file, row))

    def sample(mode: str, file: Path, row: list[str]) -> Sample:
        paths = [below(root, name, str(file)) for name in row]
        middle = paths[1]
        return between(f"{mode}/{middle.parent.name}/{middle.stem}", frames(paths), 2)

    return (sample(*row) for row in rows)
