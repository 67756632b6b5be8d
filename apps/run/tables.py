"""Tables on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(width: int = 200) -> Console:
    """A console on stdout; outside of a terminal its lines are `width` characters long, so that a log is not folded."""
    from rich.console import Console

    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = width
    return made
