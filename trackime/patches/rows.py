"""Rows of points in blocks of one size, so that a point's result does not depend on how many others there are.

Matrix products, convolutions and vectorised functions round a lone row, and what is left over at the end of an odd
count, differently, and alignment or normalisation amplifies that: whole blocks leave nothing over.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pad_rows(rows: Tensor, multiple: int) -> Tensor:
    """Indices [K] with the last one repeated up to a multiple of `multiple`; none stay none."""
    return torch.cat([rows, rows[-1:].expand(-len(rows) % multiple)])


def row_blocks(rows: Tensor, multiple: int, at_once: int = 256) -> list[Tensor]:
    """Blocks of at most `at_once` rows (int64 [K] indices, or where bool [N] is true), each padded by `pad_rows`."""
    if rows.dtype == torch.bool:
        rows = torch.nonzero(rows)[:, 0]
    return [pad_rows(part, multiple) for part in (rows.split(at_once) if len(rows) else ())]
