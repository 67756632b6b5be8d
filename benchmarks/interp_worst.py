"""Images of the worst frames, cropped to where the error is largest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.interp_cases import Case, Target
from trackime.arrays import Float32, UInt8
from trackime.files import atomic

SIDE = 192
"""Side of the crop in pixels."""
ZOOM = 2
"""Factor by which it is enlarged."""
BAR = 22
"""Pixels of the line of text above each image."""
GAIN = 4
"""Factor by which errors are amplified."""


@dataclass(frozen=True, eq=False)
class BadFrame:
    """A frame with a large error.

    Attributes:
        method: that made it.
        case: name of the video.
        t: its index.
        loss: dB below the baseline; without one the negative PSNR.
        picture: uint8 [h, w, 3], the panels.
    """

    method: str
    case: str
    t: int
    loss: float
    picture: UInt8


class Worst:
    """The `count` worst frames of each method, from different cases where possible.

    The worst lose most PSNR against the baseline method; where that did not run, they have the lowest PSNR.

    Args:
        count: of each method.
        baseline: the method compared with.
        skipped: methods that are left out.
    """

    def __init__(self, count: int = 3, baseline: str = "flow", skipped: tuple[str, ...] = ("mean",)) -> None:
        self.count, self.baseline, self.skipped = count, baseline, skipped
        self._found: dict[tuple[str, str], list[BadFrame]] = {}

    def offer(
        self, case: Case, target: Target, truth: Float32, made: Mapping[str, Float32], psnr: Mapping[str, float]
    ) -> None:
        """Compare one frame of all methods, float32 [H, W, 3] in [0, 1], and keep it where it is among the worst."""
        others = [name for name in made if name != self.baseline and name not in self.skipped]
        for name in others or [name for name in made if name not in self.skipped] or list(made):
            rival = self.baseline if self.baseline in made and name != self.baseline else None
            loss = psnr[rival] - psnr[name] if rival else -psnr[name]
            kept = self._found.setdefault((name, case.name), [])
            if len(kept) == self.count and loss <= kept[-1].loss:
                continue
            kept.append(
                BadFrame(name, case.name, target.t, loss, _panels(case, target, truth, made, psnr, name, rival))
            )
            kept.sort(key=lambda finding: -finding.loss)
            del kept[self.count :]

    def findings(self) -> list[BadFrame]:
        """The worst of each method, the worst first."""
        out = []
        for method in dict.fromkeys(name for name, _ in self._found):
            found = [rows for (name, _), rows in self._found.items() if name == method]
            firsts = sorted((rows[0] for rows in found), key=lambda finding: -finding.loss)
            rest = sorted((row for rows in found for row in rows[1:]), key=lambda finding: -finding.loss)
            out += (firsts + rest)[: self.count]
        return out

    def save(self, folder: str | Path) -> list[Path]:
        """Write them as ``METHOD_RANK_CASE_FRAME.png``, and return the paths."""
        ranks: dict[str, int] = {}
        paths = []
        for finding in self.findings():
            ranks[finding.method] = rank = ranks.get(finding.method, 0) + 1
            case = re.sub(r"[^\w.-]+", "_", finding.case)
            path = Path(folder) / f"{finding.method}_{rank}_{case}_{finding.t:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            done, data = cv2.imencode(".png", np.ascontiguousarray(finding.picture[..., ::-1]))
            assert done
            with atomic(path) as temporary:
                temporary.write_bytes(data.tobytes())
            paths.append(path)
        return paths


def _panels(
    case: Case, target: Target, truth: Float32, made: Mapping[str, Float32], psnr: Mapping[str, float], name: str,
    rival: str | None,
) -> UInt8:  # fmt: skip
    """The frames before and after, the true one, the rival's, the method's, and its error, cut at one place."""
    error = np.abs(made[name] - truth)
    against = error.mean(2) - (np.abs(made[rival] - truth).mean(2) if rival else 0)
    h, w = against.shape
    size = (min(SIDE, h), min(SIDE, w))
    # The window with the largest mean error, among those that are wholly inside.
    about = cv2.boxFilter(against.astype(np.float32), -1, (size[1], size[0]), borderType=cv2.BORDER_CONSTANT)
    inner = about[size[0] // 2 : h - (size[0] - 1) // 2, size[1] // 2 : w - (size[1] - 1) // 2]
    y, x = np.unravel_index(int(inner.argmax()), inner.shape)
    place = np.s_[y : y + size[0], x : x + size[1]]
    before, after = (case.video[t].astype(np.float32) / 255 for t in (target.i, target.j))
    shown = [(f"kept {target.i}", before), (f"kept {target.j}", after), (f"{case.name} {target.t}, true", truth)]
    for method in filter(None, (rival, name)):
        shown.append((f"{method} {psnr[method]:.2f} dB", made[method]))
    shown.append((f"error x {GAIN}", np.clip(GAIN * error, 0, 1)))
    return np.concatenate([_titled(frame[place], text) for text, frame in shown], 1)


def _titled(frame: Float32, text: str) -> UInt8:
    picture = np.round(frame * 255).astype(np.uint8)
    large = np.repeat(np.repeat(picture, ZOOM, 0), ZOOM, 1)
    bar = np.zeros((BAR, large.shape[1], 3), np.uint8)
    cv2.putText(bar, text, (4, BAR - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return np.pad(np.concatenate([bar, large]), ((0, 0), (0, 2), (0, 0)))
