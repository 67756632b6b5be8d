"""Vimeo-90K, the triplets (Xue et al. 2019): the middle one of three frames is the target.

Layout: ``sequences/00001/0001/im1.png`` .. ``im3.png``, ``tri_testlist.txt``, ``tri_trainlist.txt``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from trackime.datasets._triples import below, between, entries, frames
from trackime.datasets.sample import Sample, existing_folder


def read(path: str | os.PathLike[str], split: str = "test") -> Iterator[Sample]:
    """The triplets of a list, one at a time: ``labels["kept"]`` is (0, 2), ``labels["targets"]`` is (1,).

    Args:
        path: the folder that holds ``sequences``.
        split: "test", "train", or any other for which there is a ``tri_SPLITlist.txt``.

    Raises:
        FormatError: no such list; for an incomplete triplet when it is reached.
    """
    root = existing_folder(path)
    file = root / f"tri_{split}list.txt"
    names = [row[0] for row in entries(file, "Vimeo-90K triplets")]

    def sample(name: str) -> Sample:
        paths = [below(root / "sequences", f"{name}/im{k}.png", str(file)) for k in (1, 2, 3)]
        return between(name, frames(paths), 2)

    return (sample(name) for name in names)
