"""Matches sorted by the pair of frames they join, with the indices of the vectorised sums."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .problem import Matches


@dataclass(frozen=True, eq=False)
class FramePairs:
    """Matches in order of their pairs.

    Attributes:
        matches: sorted by (i, j); those without weight are gone.
        pair: int64 [M], the directed pair of a match.
        i, j: int64 [P], frames of a directed pair.
        link: int64 [P], the undirected pair of a directed one.
        turned: bool [P], i > j.
        low, high: int64 [U], frames of an undirected pair, low < high.
    """

    matches: Matches
    pair: torch.Tensor
    i: torch.Tensor
    j: torch.Tensor
    link: torch.Tensor
    turned: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    @classmethod
    def of(cls, matches: Matches, frames: int) -> FramePairs:
        """Sort matches between `frames` frames."""
        if bool((matches.weight == 0).any()):
            matches = matches.take(matches.weight > 0)
        key = matches.i * frames + matches.j
        if bool((key[1:] < key[:-1]).any()):
            order = torch.argsort(key, stable=True)
            matches, key = matches.take(order), key[order]
        pairs, pair = torch.unique_consecutive(key, return_inverse=True)
        i, j = pairs // frames, pairs % frames
        links, link = torch.unique(torch.minimum(i, j) * frames + torch.maximum(i, j), return_inverse=True)
        return cls(matches, pair, i, j, link, i > j, links // frames, links % frames)

    def thinned(self, most: int) -> Matches:
        """At most `most` matches of each pair, evenly taken, with the pair's whole weight; 0: all."""
        count = torch.bincount(self.pair, minlength=len(self.i))
        if most == 0 or len(self.pair) == 0 or int(count.max()) <= most:
            return self.matches
        first = torch.cumsum(count, 0) - count
        place = torch.arange(len(self.pair), device=self.pair.device) - first[self.pair]
        n = count[self.pair]
        # The k-th kept is the first whose place reaches k n / most.
        kept = (n <= most) | (((place + 1) * most // n) > (place * most // n))
        matches, pair = self.matches.take(kept), self.pair[kept]
        whole = torch.zeros(len(self.i), dtype=torch.float64, device=pair.device)
        part = whole.clone().index_add_(0, pair, matches.weight)
        whole.index_add_(0, self.pair, self.matches.weight)
        values = {**vars(matches), "weight": matches.weight * (whole / part)[pair]}
        return Matches(**values)


def components(frames: int, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """int64 [F]: the first frame of the set of frames that pairs join each frame with."""
    parent = list(range(frames))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for a, b in zip(low.tolist(), high.tolist(), strict=True):
        x, y = root(a), root(b)
        parent[max(x, y)] = min(x, y)
    return torch.tensor([root(k) for k in range(frames)], dtype=torch.int64)
