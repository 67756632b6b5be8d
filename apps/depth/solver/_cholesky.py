"""Block-sparse Cholesky factorisation of the frames' part of the normal equations.

Frames are eliminated in order of minimum degree (Tinney, Walker 1967; George, Liu 1989), right-looking. Of a band with
dyadic links the degree stays bounded, so time and memory grow with the frames; links between any two frames fill in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


class NotPositiveError(ArithmeticError):
    """The matrix is not positive definite: the step needs more damping. Never leaves the solver."""


@dataclass(frozen=True)
class Elimination:
    """An order of elimination and the fill it makes.

    Attributes:
        order: frames as they are eliminated.
        later: of each, in that order, the frames that come later and are linked to it by then, in that order too.
        neighbours: the same as int64 tensors.
        start: of each, its first block among all the blocks below the diagonal.
        targets: of each, for each neighbour b, int64 tensor: blocks of column b that its later neighbours update.
        places: int64 [U], the blocks that the links fill.
        turned: bool [U], a link whose columns are those of the frame eliminated later.
        blocks: number of blocks below the diagonal.
    """

    order: list[int]
    later: list[list[int]]
    neighbours: list[torch.Tensor]
    start: list[int]
    targets: list[list[torch.Tensor]]
    places: torch.Tensor
    turned: torch.Tensor
    blocks: int

    @classmethod
    def of(cls, frames: int, low: torch.Tensor, high: torch.Tensor) -> Elimination:
        """For frames joined by undirected pairs [U]."""
        device = low.device
        linked: list[set[int]] = [set() for _ in range(frames)]
        for a, b in zip(low.tolist(), high.tolist(), strict=True):
            linked[a].add(b)
            linked[b].add(a)
        left, order, later = set(range(frames)), [], []
        while left:
            k = min(left, key=lambda f: (len(linked[f]), f))
            left.discard(k)
            order.append(k)
            later.append(linked[k])
            for a in linked[k]:
                linked[a] |= linked[k]
                linked[a] -= {a, k}
        rank = {k: r for r, k in enumerate(order)}
        sorted_later = [sorted(around, key=rank.__getitem__) for around in later]
        start, total = [], 0
        for around in sorted_later:
            start.append(total)
            total += len(around)
        at = [{b: start[r] + n for n, b in enumerate(around)} for r, around in enumerate(sorted_later)]
        targets = [
            [torch.tensor([at[rank[b]][a] for a in around[n + 1 :]], device=device) for n, b in enumerate(around)]
            for around in sorted_later
        ]
        tensors = [torch.tensor(around, dtype=torch.int64, device=device) for around in sorted_later]
        turned = [rank[a] < rank[b] for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        places = [
            at[rank[a]][b] if flip else at[rank[b]][a]
            for a, b, flip in zip(low.tolist(), high.tolist(), turned, strict=True)
        ]
        return cls(
            order, sorted_later, tensors, start, targets,
            torch.tensor(places, dtype=torch.int64, device=device),
            torch.tensor(turned, dtype=torch.bool, device=device), total,
        )  # fmt: skip

    def memory(self, block: int) -> int:
        """Bytes of a factor."""
        return 8 * block * block * (self.blocks + len(self.order))


class BlockCholesky:
    """A factor of the block-sparse matrix with `diagonal` [F, m, m] and `links` [U, m, m] of the plan's pairs.

    Raises:
        NotPositiveError: the matrix is not positive definite.
    """

    def __init__(self, plan: Elimination, diagonal: torch.Tensor, links: torch.Tensor) -> None:
        self.plan = plan
        m = diagonal.shape[1]
        self.own = diagonal.clone()
        self.below = links.new_zeros(plan.blocks, m, m)
        self.below[plan.places] = torch.where(plan.turned[:, None, None], links.mT, links)
        for r, k in enumerate(plan.order):
            factor, failed = torch.linalg.cholesky_ex(self.own[k])
            if int(failed):
                raise NotPositiveError
            self.own[k] = factor
            around = plan.later[r]
            q = len(around)
            if not q:
                continue
            column = self.below[plan.start[r] : plan.start[r] + q]
            solved = torch.linalg.solve_triangular(factor.mT, column.reshape(q * m, m), upper=True, left=False)
            column.copy_(solved.view(q, m, m))
            for n, targets in enumerate(plan.targets[r]):
                update = (solved[n * m :] @ column[n].mT).view(q - n, m, m)
                self.own[around[n]] -= update[0]
                if q - n > 1:
                    self.below.index_add_(0, targets, update[1:], alpha=-1)

    def solve(self, b: torch.Tensor) -> torch.Tensor:
        """x [F, m, k] with A x = b."""
        x = b.clone()
        plan = self.plan
        for r, k in enumerate(plan.order):
            x[k] = torch.linalg.solve_triangular(self.own[k], x[k], upper=False)
            q = len(plan.later[r])
            if q:
                x.index_add_(0, plan.neighbours[r], self.below[plan.start[r] : plan.start[r] + q] @ x[k], alpha=-1)
        for r in reversed(range(len(plan.order))):
            k, q = plan.order[r], len(plan.later[r])
            if q:
                blocks = self.below[plan.start[r] : plan.start[r] + q]
                x[k] -= (blocks.mT @ x[plan.neighbours[r]]).sum(0)
            x[k] = torch.linalg.solve_triangular(self.own[k].mT, x[k], upper=True)
        return x
