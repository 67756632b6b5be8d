"""Progress reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Report:
    """Called with a stage, steps done, and total steps. The last call of a stage has done == total.

    Functions that report accept any such callable; applications also measure stages.

    Args:
        show: displays each call; None: nothing.

    Attributes:
        seconds: wall time of each stage measured, in order.
    """

    def __init__(self, show: Callable[[str, int, int], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._callback = show

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of `stage` are done."""
        if self._callback is not None:
            self._callback(stage, done, total)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the block as stage `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)

    def within(self, prefix: str) -> Report:
        """A report whose stages are shown here as ``prefix stage``."""
        return Report(lambda stage, done, total: self(f"{prefix} {stage}", done, total))


silent = Report()
"""Shows nothing."""
