"""Tables on the terminal, JSON in a file, the command line and the machine in both."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import trackime
from trackime.files import atomic

console = Console()
errors = Console(stderr=True)
if not console.is_terminal:
    console.width = 200  # a log is not folded


def machine(device: str) -> dict[str, Any]:
    """The machine and versions of a measurement."""
    accelerator = torch.cuda.get_device_name(torch.device(device)) if device.startswith("cuda") else None
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "gpu": accelerator,
        "python": platform.python_version(),
        "trackime": trackime.__version__,
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


class Report:
    """Rows of one benchmark: shown as they are finished, saved at the end.

    Args:
        title: of the table.
        device: what ran it.
        digits: decimals of numbers of 10 and more on the terminal.
    """

    def __init__(self, title: str, device: str = "cpu", digits: int = 1) -> None:
        self.title, self.device, self.digits = title, device, digits
        self.rows: list[dict[str, Any]] = []
        self.details: dict[str, Any] = {}

    def add(self, **cells: Any) -> None:
        """One row; numbers are shown to three places at most."""
        self.rows.append(cells)

    def show(self) -> None:
        """The table, and below it the machine."""
        table = Table(title=self.title, title_justify="left")
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        for name in names:
            table.add_column(name, justify="left" if name == names[0] else "right")
        for row in self.rows:
            table.add_row(*(_cell(row.get(name), self.digits) for name in names))
        console.print(table)
        where = machine(self.device)
        console.print(f"[dim]{where['gpu'] or where['cpu']}, {where['cores']} cores, torch {where['torch']}[/dim]")

    def save(self, path: str | None) -> None:
        """JSON with the command line, the machine and every row; nothing where `path` is None."""
        if path is None:
            return
        document = {
            "command": ["python", "-m", "benchmarks", *sys.argv[1:]],
            "title": self.title,
            "machine": machine(self.device),
            "rows": self.rows,
            **self.details,
        }
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(document, indent=1, default=float) + "\n")


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{digits}f}" if abs(value) >= 10 else f"{value:.3g}"
    return str(value)


def percent(scores: dict[str, float], names: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Chosen scores by their short names, in percent."""
    return {short: 100 * scores[long] for short, long in names}


def status(text: str) -> None:
    """A line on stderr: which case is running."""
    errors.print(f"[dim]{text}[/dim]", highlight=False)
