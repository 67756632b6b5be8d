"""How work in progress is reported, everywhere."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Called as work goes on: the stage, steps done, steps in all. The last call of a stage has done == total."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """A `Report` that shows nothing."""
