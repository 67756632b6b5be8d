"""Colour models of an object and of its surroundings; those of the first frame are kept."""

from __future__ import annotations

import cv2
import numpy as np

from trackime.arrays import BoolArray, FloatArray, pixels_at
from trackime.imaging import Mixture, fit_mixture, log_ratio, signed_distance

from .config import VosConfig

_ALIKE = 15.0
"""Colours nearer than this in Lab may be of the same point."""


class Appearance:
    """Colours of one object, learnt from its masks.

    Args:
        config: the switches.
        lab: float32 [h, w, 3], the first frame.
        mask: bool [h, w], the object there.

    Attributes:
        separability: in [0.1, 1], how well colours separate the object from its surroundings in the first frame.
    """

    def __init__(self, config: VosConfig, lab: FloatArray, mask: BoolArray) -> None:
        self.config = config
        self._rng = np.random.default_rng(config.seed)
        self._inside, self._outside = self._samples(lab, mask, 3000)
        self._frozen = self._recent = self._models(self._inside, self._outside)
        self.separability = self._separability_of(lab, mask)

    def learn(self, lab: FloatArray, mask: BoolArray) -> None:
        """Update the models of recent frames with a confident mask."""
        inside, outside = self._samples(lab, mask, 600)
        self._inside, self._outside = self._mix(self._inside, inside), self._mix(self._outside, outside)
        self._recent = self._models(self._inside, self._outside)

    def ratio(self, lab: FloatArray, where: BoolArray) -> FloatArray:
        """Log ratio [h, w] of the object's colours to its surroundings', 0 but `where`."""
        share = self.config.frozen
        ratio = np.zeros(where.shape, np.float32)
        ratio[where] = share * log_ratio(lab[where], *self._frozen)
        if share < 1:
            ratio[where] += (1 - share) * log_ratio(lab[where], *self._recent)
        return np.asarray(cv2.GaussianBlur(ratio, (0, 0), 0.8))

    def likely(self, looks: FloatArray, first: FloatArray) -> BoolArray:
        """Whether points [N] may be the object's by their colours here and first, Lab [N, 3]."""
        alike = ((looks - first) ** 2).sum(1) < _ALIKE**2
        return np.asarray(alike | (self.separability * log_ratio(looks, *self._frozen) > -1))

    def _samples(self, lab: FloatArray, mask: BoolArray, count: int) -> tuple[FloatArray, FloatArray]:
        """Colours [n, 3] inside the mask and around it, pixels beside the border left out."""
        distance = signed_distance(mask)
        core = distance > 1.5 if (distance > 1.5).sum() > 30 else mask
        reach = float(np.clip(np.sqrt(mask.sum()), 8, 80))
        inside = self._draw(lab, core.astype(float), count)
        around = np.where(distance < -1.5, np.exp(np.maximum(distance, -60) / reach) + 0.02, 0)
        return inside, self._draw(lab, around, count)

    def _draw(self, lab: FloatArray, weights: FloatArray, count: int) -> FloatArray:
        flat = weights.ravel() / max(weights.sum(), 1e-9)
        able = int((flat > 0).sum())
        if not able:
            return np.zeros((0, 3), np.float32)
        return lab.reshape(-1, 3)[self._rng.choice(flat.size, min(count, able), p=flat)]

    def _mix(self, old: FloatArray, new: FloatArray) -> FloatArray:
        """As many samples as before, the new ones replacing randomly chosen old ones."""
        if not len(old) or not len(new):
            return new if len(new) else old
        keep = max(0, 3000 - len(new))
        return np.concatenate([old[self._rng.permutation(len(old))[:keep]], new])

    def _models(self, inside: FloatArray, outside: FloatArray) -> tuple[Mixture | None, Mixture | None]:
        return fit_mixture(inside, 6, seed=self.config.seed), fit_mixture(outside, 8, seed=self.config.seed)

    def _separability_of(self, lab: FloatArray, mask: BoolArray) -> float:
        distance = signed_distance(mask)
        reach = float(np.clip(0.5 * np.sqrt(mask.sum()), 6, 40))
        around = (~mask) & (distance > -reach)
        if not mask.any() or not around.any():
            return 0.1
        inside, outside = log_ratio(lab[mask], *self._frozen), log_ratio(lab[around], *self._frozen)
        right = 0.5 * float((inside > 0).mean() + (outside < 0).mean())
        return float(np.clip(2.5 * (right - 0.55), 0.1, 1))


def colours_at(lab: FloatArray, xy: FloatArray) -> FloatArray:
    """Lab [N, 3] at points [N, 2]; of the nearest pixel for those outside."""
    x, y = pixels_at(xy, (lab.shape[0], lab.shape[1])).T
    return np.asarray(lab[y, x])
