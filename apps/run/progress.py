"""What a run shows while it works, and how long each of its stages took."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from trackime.checkpoints import store as models
from trackime.progress import Report


class Progress(Report):
    """Bars with the time left on stderr, where that is a terminal; seconds by stage in any case.

    Use as a context manager. Calling it reports progress; `stage` measures a stage.

    Args:
        quiet: show nothing.

    Attributes:
        seconds: wall time of each stage measured, in order.
    """

    def __init__(self, quiet: bool = False) -> None:
        super().__init__()
        self._show = not quiet and sys.stderr.isatty()
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._watching = ExitStack()

    def __enter__(self) -> Progress:
        if self._show:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Bars(*columns, TextColumn("ETA"), TimeRemainingColumn(), console=Console(stderr=True))
            self._bars.start()
            self._watching.enter_context(models.reporting(self._fetching))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watching.close()
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of `stage` are done."""
        if self._bars is None:
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)

    def _fetching(self, name: str, done: int, total: int) -> None:
        """A checkpoint that is downloaded on the way, in MB."""
        self(f"{name}, MB", round(done / 1e6), round(total / 1e6))
