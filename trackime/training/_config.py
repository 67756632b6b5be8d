"""Configuration of a run: everything that its result depends on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trackime.errors import InputError
from trackime.trackers.networks import LARGE, SMALL, NetworkSize
from trackime.training._losses import LossConfig


@dataclass(frozen=True)
class CurriculumStage:
    """A part of the curriculum.

    Attributes:
        share: of all steps.
        side: height of the frames in pixels, and their width where that is not given.
        frames: of a clip.
        batch: clips per step.
        points: of a clip.
        chained: share of steps in which a clip is processed as two consecutive windows.
        world: options of the worlds, which override those of the run.
        width: of the frames in pixels; 0: square ones.
        bodies: share of steps whose clips show articulated bodies (`make_bodies`) in place of layers.
        rendered: frames that are rendered, `frames` of which are taken: consecutive ones, every other, or with random
            gaps, so that motion cannot be relied on; 0: `frames`.
    """

    share: float
    side: int
    frames: int
    batch: int
    points: int
    chained: float = 0.25
    world: dict[str, Any] = field(default_factory=dict)
    width: int = 0
    bodies: float = 0.0
    rendered: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the frames in pixels."""
        return self.side, self.width or self.side


@dataclass(frozen=True)
class TrainConfig:
    """A run.

    Attributes:
        size: the network's.
        stages: the curriculum, in order.
        steps: of the whole run; the learning rate falls along one cosine over all of them.
        seed: of weights and worlds.
        rate: highest learning rate.
        warmup: steps until it is reached.
        decay: AdamW's weight decay.
        clip: largest norm of the gradient.
        ema: decay of the mean weights, which are the result.
        bf16: compute in bfloat16; coordinates and sampling stay in float32.
        uses: steps for which a batch of worlds is used, each time mirrored, transposed and time-reversed at random.
        forget: share of points whose mixer is not told how far they are from their query and from the frame's border.
        processes: processes that share each step, each with its own batch.
        losses: their weights.
        world: options of the worlds.
    """

    size: NetworkSize = SMALL
    stages: tuple[CurriculumStage, ...] = (CurriculumStage(1.0, 128, 12, 4, 48),)
    steps: int = 4000
    seed: int = 0
    rate: float = 1e-3
    warmup: int = 100
    decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    bf16: bool = True
    uses: int = 1
    forget: float = 0.0
    processes: int = 1
    losses: LossConfig = field(default_factory=LossConfig)
    world: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.steps, self.uses, self.processes) < 1 or not self.stages:
            raise InputError(
                "training: expected steps, uses, processes and stages of 1 or more, "
                f"got {self.steps}, {self.uses}, {self.processes}, {self.stages}"
            )
        if not 0 <= self.forget <= 1 or any(0 < s.rendered < s.frames for s in self.stages):
            raise InputError("training: expected forget in 0 .. 1 and rendered 0, or frames of the stage or more")
        if any(v % 16 or v < 32 for s in self.stages for v in s.size) or any(s.frames < 2 for s in self.stages):
            raise InputError("stages: expected sides that are multiples of 16 of at least 32, and 2 frames or more")

    def stage(self, step: int) -> CurriculumStage:
        """The stage of step number `step`."""
        done = step / self.steps * sum(s.share for s in self.stages)
        for stage in self.stages:
            done -= stage.share
            if done < -1e-9:
                return stage
        return self.stages[-1]

    def as_json(self) -> str:
        """The configuration as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """The inverse of `as_json`. Raises InputError."""
        try:
            data = json.loads(text)
            stages = tuple(CurriculumStage(**s) for s in data.pop("stages"))
            stages = tuple(replace(s, world={k: _frozen(v) for k, v in s.world.items()}) for s in stages)
            size, losses = NetworkSize(**data.pop("size")), LossConfig(**data.pop("losses"))
            data["world"] = {k: _frozen(v) for k, v in data.get("world", {}).items()}
            return cls(size=size, stages=stages, losses=losses, **data)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise InputError(f"training: expected a configuration written by a run: {error}") from None


def _frozen(value: Any) -> Any:
    """Lists of JSON as tuples."""
    return tuple(value) if isinstance(value, list) else value


PRESETS = {
    "cpu": TrainConfig(
        stages=(
            CurriculumStage(0.2, 128, 12, 1, 64, 0.15, {"strides": (1, 2)}),
            CurriculumStage(0.65, 128, 12, 1, 64),
            CurriculumStage(0.15, 192, 12, 1, 64),
        ),
        steps=4000,
        rate=8e-4,
        warmup=60,
        ema=0.995,
        processes=2,
    ),
    "idle": TrainConfig(
        stages=(
            CurriculumStage(0.7, 128, 12, 4, 64, 0.1, bodies=0.5, rendered=24),
            CurriculumStage(0.3, 128, 24, 2, 64, bodies=0.5),
        ),
        steps=20000,
        rate=3e-4,
        warmup=200,
        uses=4,
        forget=0.3,
    ),
    "gpu": TrainConfig(
        size=LARGE,
        stages=(
            CurriculumStage(0.42, 128, 16, 40, 64),
            CurriculumStage(0.32, 256, 24, 12, 64),
            CurriculumStage(0.26, 256, 40, 8, 64),
        ),
        steps=12000,
        rate=5e-4,
        warmup=300,
    ),
}
"""Configurations by name."""
