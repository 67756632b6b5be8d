"""Who makes new frames: the contract between the application and the methods of interpolation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from trackime.arrays import Float32


class Between(Protocol):
    """Makes frames between two frames of a video it was made for."""

    def __call__(self, i: int, j: int, taus: Sequence[float]) -> Iterator[Float32]:
        """New frames between frames i < j, which belong to one shot. Called for increasing i.

        Args:
            i, j: frame indices; j may be greater than i + 1 where frames between them are replaced.
            taus: places of the new frames, 0 < tau < 1, increasing.

        Returns:
            For each tau a frame float32 [H, W, C] in [0, 1], C = 3 (RGB) or 4 (RGB not premultiplied, alpha) as the
            video has it.
        """
