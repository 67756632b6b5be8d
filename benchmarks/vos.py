"""Object segmentation from the first mask, beside masks that stand still or are carried by optical flow."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.report import Report, status
from trackime import segmenters, trackers
from trackime.datasets import Sample
from trackime.ime import ImeConfig
from trackime.maskio import write_mask
from trackime.video import Video, open_video
from trackime_apps.vos.metrics import ObjectScores, evaluate, summary
from trackime_apps.vos.run import segment

Masks = list[np.ndarray]


def davis(
    report: Report,
    samples: Iterable[Sample],
    tracker: str,
    segmenter: str,
    device: str,
    config: ImeConfig,
    out: str | None,
    scale: float,
) -> None:
    """A row a sequence: J, F and J&F of ours, of a static mask and of a mask carried by DIS; seconds a frame.

    Args:
        out: folder to keep masks in, or None.
        scale: frames and masks are resized by this before anything else.
    """
    follow, cut = trackers.create(tracker, device=device), segmenters.create(segmenter, device=device)
    everyone: dict[str, list[ObjectScores]] = {"": [], "static": [], "DIS": []}
    seconds = frames = 0.0
    for sample in samples:
        status(sample.name)
        video, truth = _load(sample, scale)
        start = time.perf_counter()
        made = segment(video, masks={0: truth[0]}, tracker=follow, segmenter=cut, ime=config, device=device)
        masks = [frame.ids for frame in made]
        spent = time.perf_counter() - start
        seconds, frames = seconds + spent, frames + len(masks)
        if out:
            for name, mask in zip(video.info.names, masks, strict=True):
                write_mask(Path(out) / sample.name / f"{name}.png", mask)
        cells: dict[str, Any] = {"sequence": sample.name}
        for kind, found in (
            ("", masks),
            ("static", [truth[0]] * len(truth)),
            ("DIS", carried(video, truth[0])),
        ):
            scores = evaluate(found, truth)
            everyone[kind] += scores
            cells |= _cells(kind, summary(scores))
        report.add(**cells, seconds_a_frame=spent / len(masks))
    mean: dict[str, Any] = {"sequence": "mean over objects"}
    for kind, scores in everyone.items():
        mean |= _cells(kind, summary(scores))
    report.add(**mean, seconds_a_frame=seconds / frames)
    report.details["summary"] = {kind or "ours": summary(scores) for kind, scores in everyone.items()}


def _cells(kind: str, scores: dict[str, float]) -> dict[str, float]:
    if kind:
        return {f"J&F {kind}": 100 * scores["J&F"]}
    return {"J": 100 * scores["J_mean"], "F": 100 * scores["F_mean"], "J&F": 100 * scores["J&F"]}


def _load(sample: Sample, scale: float) -> tuple[Video, Masks]:
    """The video and its true masks, resized."""
    assert sample.masks is not None
    video, truth = open_video(sample.video), [np.asarray(sample.masks[t]) for t in range(len(sample.masks))]
    if scale == 1:
        return video, truth
    size = (round(video.info.width * scale), round(video.info.height * scale))
    frames = np.stack([cv2.resize(video[t], size, interpolation=cv2.INTER_AREA) for t in range(len(video))])
    return open_video(frames), [cv2.resize(m, size, interpolation=cv2.INTER_NEAREST) for m in truth]


def carried(video: Video, first: np.ndarray) -> Masks:
    """The first mask carried from frame to frame by DIS optical flow (Kroeger et al. 2016) and nothing else."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    y, x = np.mgrid[: first.shape[0], : first.shape[1]].astype(np.float32)
    masks, before = [first], cv2.cvtColor(video[0], cv2.COLOR_RGB2GRAY)
    for t in range(1, len(video)):
        now = cv2.cvtColor(video[t], cv2.COLOR_RGB2GRAY)
        back = flow.calc(now, before, None)  # where each pixel of this frame was in the last
        masks.append(cv2.remap(masks[-1], x + back[..., 0], y + back[..., 1], cv2.INTER_NEAREST))
        before = now
    return masks
