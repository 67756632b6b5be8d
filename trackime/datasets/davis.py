"""DAVIS 2016 and 2017 (Perazzi et al. 2016, Pont-Tuset et al. 2017): videos and masks.

Two layouts: the official one, ``JPEGImages/480p/SEQ/00000.jpg``, ``Annotations/480p/SEQ/00000.png`` and
``ImageSets``; and a plain one, ``SEQ/frames/00000.jpg``, ``SEQ/masks/00000.png``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from trackime.datasets.sample import Sample, existing_folder, folder_info, list_images, mask_folder, sequences
from trackime.errors import FormatError, InputError


def read(
    path: str | os.PathLike[str],
    split: str | None = None,
    year: int | None = None,
    resolution: str = "480p",
    names: Sequence[str] | None = None,
) -> Iterator[Sample]:
    """The sequences of DAVIS, by name.

    Masks are those the data set has: all frames of train and val, only the first of the test sets.

    Args:
        path: the folder that holds ``JPEGImages``, or one of plain sequences, or one plain sequence.
        split: a list in ``ImageSets`` (official layout), e.g. "train", "val"; None: every sequence there is.
        year: 2016 or 2017, where ``ImageSets`` has both; None: whichever there is, 2017 first.
        resolution: the folder below ``JPEGImages`` (official layout).
        names: only these sequences; None: all.

    Raises:
        FormatError: neither layout, a list or sequence that is missing; for frames and masks when reached.
        InputError: a split of plain sequences, a name that is no folder name.
    """
    root = existing_folder(path)
    official = (root / "JPEGImages").is_dir()
    if split is not None and not official:
        raise InputError(f"split: {root} has no ImageSets to take {split!r} from (plain layout): use names")
    if official:
        found = _split(root, split, year, resolution) if split else _folders(root / "JPEGImages" / resolution)
    else:
        found = [folder.name for folder in sequences(root, "frames", "DAVIS")]
    wanted = found if names is None else [_plain_name(name) for name in names]
    for name in wanted:
        if name not in found:
            raise FormatError(f"{root}: expected one of {', '.join(found[:6])} ..., found no sequence {name!r}")

    def folders(name: str) -> tuple[Path, Path]:
        if official:
            return root / "JPEGImages" / resolution / name, root / "Annotations" / resolution / name
        sequence = root if (root / "frames").is_dir() else root / name
        return sequence / "frames", sequence / "masks"

    return (_sample(name, *folders(name), complete=not official) for name in wanted)


def _sample(name: str, frames: Path, masks: Path, complete: bool) -> Sample:
    info = folder_info(frames)
    if masks.is_dir() or complete:
        # The official test sets annotate the first frame alone; anything between is a broken copy.
        only_first = not complete and len(list_images(masks)) == 1
        return Sample(name, frames, masks=mask_folder(masks, info, complete=not only_first))
    return Sample(name, frames)


def _folders(folder: Path) -> list[str]:
    found = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if not found:
        raise FormatError(f"{folder}: expected DAVIS sequences, found none")
    return found


def _split(root: Path, split: str, year: int | None, resolution: str) -> list[str]:
    # 2016 releases call the list by resolution and give a pair of files per line; 2017 ones a name per line.
    where = [str(year)] if year else ["2017", "2016"]
    if year in (None, 2016):
        where.append(resolution)
    lists = [root / "ImageSets" / folder / f"{_plain_name(split)}.txt" for folder in where]
    for path in lists:
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            return list(dict.fromkeys(_name_of(line.split()[0]) for line in lines if line.strip()))
    raise FormatError(f"{root}: expected the split {split!r} as one of {', '.join(map(str, lists))}, found none")


def _name_of(entry: str) -> str:
    return _plain_name(entry.rstrip("/").split("/")[-2] if "/" in entry.strip("/") else entry.strip("/"))


def _plain_name(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise InputError(f"sequence: expected a plain folder name, got {name!r}")
    return name
