"""Pictures of a run: its curve, and clips with true and predicted positions."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from trackime.errors import InputError
from trackime.files import atomic
from trackime.trackers import PointTracker
from trackime.training.data import Clips

SIZE = (900, 420)
"""(width, height) of the curve."""
MARGIN = 50
INK, FAINT = (40, 40, 40), (215, 215, 215)
LINES = {"d_avg": (30, 110, 200), "AJ": (200, 80, 30), "OA": (40, 150, 70), "found": (140, 60, 170)}
TRAINED = (165, 200, 235)
SHOWN = 6
"""Frames of a clip in a row of the sheet."""
RIGHT, WRONG, HIDDEN = (60, 220, 90), (255, 60, 60), (150, 150, 255)


def draw_curve(log: Path, validation: Path, output: Path) -> None:
    """Shares over steps: d_avg of the training clips themselves, and the scores of validation.

    Args:
        log: of a run.
        validation: of the same run; may not be there yet.
        output: an image file.

    Raises:
        InputError: no log.
    """
    if not log.is_file():
        raise InputError(f"{log}: expected the log of a run")
    trained = _read(log)
    scored = _read(validation) if validation.is_file() else []
    last = max(row["step"] for row in trained + scored)
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)

    def place(step: float, share: float) -> tuple[float, float]:
        x = MARGIN + (SIZE[0] - 2 * MARGIN) * step / last
        return x, SIZE[1] - MARGIN - (SIZE[1] - 2 * MARGIN) * share

    for tick in range(0, 11, 2):
        draw.line([place(0, tick / 10), place(last, tick / 10)], fill=FAINT)
        draw.text((MARGIN - 28, place(0, tick / 10)[1] - 6), f"{tick / 10:.1f}", fill=INK)
    unit = 10 ** math.floor(math.log10(last))
    for step in range(0, int(last) + 1, max(1, unit // 2 if last / unit < 5 else unit)):
        draw.text((place(step, 0)[0] - 8, SIZE[1] - MARGIN + 8), str(step), fill=INK)
    rows = {"d_avg, training clips": (trained, "d_avg", TRAINED)}
    rows |= {f"{name}, validation": (scored, name, colour) for name, colour in LINES.items()}
    for k, (label, (table, name, colour)) in enumerate(rows.items()):
        points = [place(row["step"], row[name]) for row in table if math.isfinite(row.get(name, math.nan))]
        if len(points) > 1:
            draw.line(points, fill=colour, width=2)
        draw.text((MARGIN + 10 + 165 * k, 15), label, fill=colour)
    draw.text((SIZE[0] // 2 - 12, SIZE[1] - 22), "steps", fill=INK)
    with atomic(output) as temporary:
        image.save(temporary)


def _read(path: Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def draw_sheet(tracker: PointTracker, clips: list[Clips], output: Path, rows: int = 4) -> None:
    """The clips in which the tracker does worst, a row each.

    A ring is a true position (green where the prediction is within 4 pixels, red where it is not, blue where the point
    is hidden), a cross the predicted one; a line joins them where they part.

    Args:
        tracker: any.
        clips: of one clip each.
        output: an image file.
        rows: clips that are shown.
    """
    worst = []
    for clip in clips:
        whole = clip.to(torch.device("cpu"))
        xy, visibility = tracker.track(whole.frames, whole.queries)
        error = (xy.cpu() - whole.xy).norm(dim=-1)
        worst.append((float((error[whole.visible] < 4).float().mean()), whole, xy.cpu(), visibility.cpu()))
    worst.sort(key=lambda row: row[0])
    lines = [np.hstack(_cells(clip, xy[0], visibility[0])) for _, clip, xy, visibility in worst[:rows]]
    with atomic(output) as temporary:
        Image.fromarray(np.vstack(lines)).save(temporary, quality=88)


def _cells(clip: Clips, xy: Tensor, visibility: Tensor) -> list[np.ndarray]:
    """Frames of a clip with its points, evenly over time."""
    cells = []
    for t in np.linspace(0, clip.frames.shape[1] - 1, SHOWN).round().astype(int).tolist():
        pixels = (clip.frames[0, t] * 255).to(torch.uint8).permute(1, 2, 0).numpy()
        image = Image.fromarray(np.ascontiguousarray(pixels))
        draw = ImageDraw.Draw(image)
        for n in range(len(xy)):
            (x, y), (px, py) = clip.xy[0, n, t].tolist(), xy[n, t].tolist()
            seen = bool(clip.visible[0, n, t])
            near = math.hypot(px - x, py - y) < 4
            colour = HIDDEN if not seen else RIGHT if near else WRONG
            if seen:
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), outline=colour)
            if visibility[n, t] > 0.5:
                draw.line((px - 2, py - 2, px + 2, py + 2), fill=colour)
                draw.line((px - 2, py + 2, px + 2, py - 2), fill=colour)
            if seen and not near:
                draw.line((x, y, px, py), fill=colour)
        cells.append(np.asarray(image))
    return cells
