"""Validation on held-out worlds: other seeds, and other sources of images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from trackime.arrays import inside
from trackime.metrics import THRESHOLDS, found_again, tap_vid
from trackime.trackers import EmbeddedOptions, EmbeddedTracker, PointTracker
from trackime.trackers.networks import TrackimeS
from trackime.training._config import CurriculumStage
from trackime.training.data import VALIDATION_SEED, Clips, Maker
from trackime.training.real import RealVideo, score_real

CALIBRATION_SEED = VALIDATION_SEED + 100_000
_CUTS = tuple(i / 20 for i in range(2, 17))
"""Candidate thresholds of visibility."""
_KEYS = {"AJ": "average_jaccard", "d_avg": "average_pts_within_thresh", "OA": "occlusion_accuracy", "J1": "jaccard_1"}


@dataclass(frozen=True)
class ValidationSet:
    """The fixed validation clips.

    Attributes:
        clips: number of clips.
        side: height in pixels, and width where that is not given; scores are in pixels at 256x256.
        frames: of a clip.
        points: of a clip.
        width: in pixels; 0: square.
    """

    clips: int = 24
    side: int = 256
    frames: int = 32
    points: int = 32
    seed: int = VALIDATION_SEED
    width: int = 0

    def make(self, maker: Maker) -> Iterable[Clips]:
        """Its clips, one at a time."""
        stage = CurriculumStage(1.0, self.side, self.frames, 1, self.points, width=self.width)
        return (maker(self.seed + i, stage) for i in range(self.clips))


def score(tracker: PointTracker, clips: Iterable[Clips]) -> dict[str, float]:
    """TAP-Vid's measures over all frames but the query's, and errors of hidden points.

    Returns:
        AJ, d_avg, OA, J1 and d1 (means over clips, in shares); error_visible and error_hidden, median pixels at 256;
        d_hidden, the share of hidden points within the same thresholds (of those inside the frame), averaged;
        found, the share of points that come back after long gaps and are found again (see `found_again`), and returns,
        the number of these.
    """
    rows: list[dict[str, float]] = []
    visible_errors, hidden_errors, found = [], [], []
    for clip in clips:
        whole = clip.to(torch.device("cpu"))
        predicted, visibility = tracker.track(whole.frames, whole.queries)
        scale = 256 / np.array([whole.frames.shape[-1], whole.frames.shape[-2]])
        for b in range(len(whole.query_frame)):
            at, true, seen = (part[b].numpy() for part in (whole.query_frame, whole.xy, whole.visible))
            xy, predicted_visible = predicted[b].cpu().numpy() * scale, visibility[b].cpu().numpy() > 0.5
            true = true * scale
            row = tap_vid(at, true, seen, xy, predicted_visible, "strided")
            rows.append({name: float(row[key]) for name, key in _KEYS.items()} | {"d1": float(row["pts_within_1"])})
            error = np.linalg.norm(xy - true, axis=-1)
            others = np.arange(seen.shape[1]) != at[:, None]
            within = inside(true, (256, 256))
            visible_errors.append(error[seen & others])
            hidden_errors.append(error[~seen & others & within])
            found += found_again(at, seen, predicted_visible, error)
    hidden = np.concatenate(hidden_errors)
    out = {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}
    return {
        **out,
        "error_visible": float(np.median(np.concatenate(visible_errors))),
        "error_hidden": float(np.median(hidden)) if len(hidden) else float("nan"),
        "d_hidden": float(np.mean([(hidden < limit).mean() for limit in THRESHOLDS])) if len(hidden) else 0.0,
        "found": float(np.mean(found)) if found else float("nan"),
        "returns": float(len(found)),
    }


def calibrate(tracker: EmbeddedTracker, clips: Iterable[Clips]) -> float:
    """The threshold of visibility with the best AJ (mean over clips); the network's own is not changed.

    Args:
        tracker: with weights as trained.
        clips: other clips than those it is scored on.
    """
    network, own = tracker.network, tracker.network.threshold
    totals = dict.fromkeys(_CUTS, 0.0)
    network.threshold = 0.5
    for clip in clips:
        whole = clip.to(torch.device("cpu"))
        predicted, visibility = (part.cpu().numpy() for part in tracker.track(whole.frames, whole.queries))
        scale = 256 / np.array([whole.frames.shape[-1], whole.frames.shape[-2]])
        truth = whole.xy.numpy() * scale, whole.visible.numpy()
        for threshold in _CUTS:
            row = tap_vid(whole.query_frame.numpy(), *truth, predicted * scale, visibility > threshold, "strided")
            totals[threshold] += float(np.nanmean(row["average_jaccard"]))
    network.threshold = own
    return max(totals, key=lambda threshold: totals[threshold])


@dataclass(frozen=True)
class Validator:
    """Validation while training: a few clips, rendered once.

    Attributes:
        make: renders held-out worlds.
        held: their number and size.
        real: real video to score on, too.
    """

    make: Maker
    held: ValidationSet = ValidationSet(clips=8, frames=16)
    real: RealVideo | None = None

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Scores of a network, on its own device."""
        assert isinstance(network, TrackimeS)
        device = next(network.parameters()).device
        # The network alone: alignment hides what it learns.
        tracker = EmbeddedTracker(network, EmbeddedOptions(align=False), device)
        return score(tracker, _kept(self)) | ({} if self.real is None else score_real(tracker, self.real))


@lru_cache(maxsize=1)
def _kept(watch: Validator) -> tuple[Clips, ...]:
    return tuple(watch.held.make(watch.make))
