"""A run of training, in slices: each continues exactly where the last one ended."""

from __future__ import annotations

import csv
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trackime.errors import InputError, SolveError
from trackime.files import atomic
from trackime.trackers.networks import TrackimeS
from trackime.training._config import TrainConfig
from trackime.training._state import load_state, save_state
from trackime.training._step import forward
from trackime.training._team import ProcessTeam
from trackime.training.data import Clips, Maker, batches

log = logging.getLogger(__name__)

STATE, CONFIG, LOG, VALIDATION = "state", "config.json", "log.csv", "validation.csv"
BEST = "best"
"""State of the mean weights with the best validation score."""
BETAS = (0.9, 0.99)
"""AdamW's betas, for small batches and short runs."""
PATIENCE = 20
"""Consecutive steps without a finite gradient after which the run fails."""

Validate = Callable[[nn.Module], dict[str, float]]
"""Scores of a network, `d_avg` among them."""


@dataclass(frozen=True)
class SliceSchedule:
    """Duration and output of a slice; it does not affect the result.

    Attributes:
        minutes: end the slice after this long; None: run to the end.
        until: end the slice before this step; None: run to the end.
        save_minutes: write the state this often.
        log_every: steps per line of the log.
        validate_every: steps between validations; 0: none.
        workers: processes that render worlds; 0: this one.
    """

    minutes: float | None = None
    until: int | None = None
    save_minutes: float = 3.0
    log_every: int = 20
    validate_every: int = 0
    workers: int = 0


def rate_at(step: int, config: TrainConfig) -> float:
    """The learning rate: a linear rise, then one half cosine to zero over all slices."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    return config.rate * rise * 0.5 * (1 + math.cos(math.pi * step / config.steps))


class TrainingRun:
    """Weights, their means, the optimiser, and the number of the next step.

    Args:
        config: its configuration.
        device: device to train on.
        team: processes that share each step.
    """

    def __init__(self, config: TrainConfig, device: torch.device, team: ProcessTeam | None = None) -> None:
        self.config, self.device, self.step, self.team = config, device, 0, team or ProcessTeam()
        self.best = -math.inf
        # Weights depend on the seed alone; the program's random state is not changed.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = TrackimeS(config.size)
        self.network.to(device)
        self.network.forget = config.forget
        self.mean = {name: p.detach().clone() for name, p in self.network.named_parameters()}
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.rate, betas=BETAS, weight_decay=config.decay
        )

    def tensors(self) -> dict[str, Tensor]:
        """All state by name."""
        out: dict[str, Tensor] = {}
        for name, parameter in self.network.named_parameters():
            out[f"weight.{name}"] = parameter
            out[f"mean.{name}"] = self.mean[name]
            state = self.optimiser.state.get(parameter, {})
            zero = torch.zeros_like(parameter)
            out[f"first.{name}"] = state.get("exp_avg", zero)
            out[f"second.{name}"] = state.get("exp_avg_sq", zero)
            out[f"count.{name}"] = state.get("step", torch.zeros(()))
        return out

    def save(self, folder: Path) -> None:
        """Write the state. Raises OutputError."""
        save_state(folder, self.tensors(), {"step": self.step, "best": self.best if self.best > -math.inf else None})

    def load(self, folder: Path) -> None:
        """Restore a state. Raises InputError, FormatError."""
        tensors, about = load_state(folder)
        wanted = {name: t.shape for name, t in self.tensors().items()}
        if {name: t.shape for name, t in tensors.items()} != wanted:
            raise InputError(f"{folder}: expected the state of a network of {self.config.size}")
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(tensors[f"weight.{name}"])
                self.mean[name].copy_(tensors[f"mean.{name}"])
                self.optimiser.state[parameter] = {
                    "step": tensors[f"count.{name}"],
                    "exp_avg": tensors[f"first.{name}"].to(self.device),
                    "exp_avg_sq": tensors[f"second.{name}"].to(self.device),
                }
        self.step = int(about["step"])
        self.best = -math.inf if about["best"] is None else float(about["best"])

    def start_from(self, network: TrackimeS) -> None:
        """Weights of another run: a warm restart, with a new optimiser. InputError: of another size."""
        if network.size != self.config.size:
            raise InputError(f"training: expected weights of a network of {self.config.size}, got {network.size}")
        self.network.load_state_dict(network.state_dict())
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                self.mean[name].copy_(parameter)

    def mean_network(self) -> TrackimeS:
        """A network of the mean weights, in evaluation mode."""
        network = TrackimeS(self.config.size).to(self.device)
        network.load_state_dict(self.mean)
        return network.eval().requires_grad_(False)

    def advance(self, clips: Clips) -> dict[str, float]:
        """One step on a batch; returns values for the log. A step without a finite gradient changes no weights."""
        config, step = self.config, self.step
        rate = rate_at(step, config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        lot = torch.rand((), generator=torch.Generator().manual_seed(7_000_003 * (config.seed + 1) + step))
        chained = bool(lot < config.stage(step).chained)
        # What the network forgets depends on the step alone: slices are one run.
        with torch.random.fork_rng(devices=[]), torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            torch.manual_seed(9_000_011 * (config.seed + 1) + step)
            losses, share = forward(self.network, clips.to(self.device), config.losses, chained)
        total = torch.stack(list(losses.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        self.team.average(self.network.parameters())
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), config.clip))
        if math.isfinite(norm):
            self.optimiser.step()
            decay = min(config.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                for name, parameter in self.network.named_parameters():
                    self.mean[name].lerp_(parameter, 1 - decay)
        self.step += 1
        values = {name: float(value.detach()) for name, value in losses.items()}
        return {"loss": float(total.detach()), **values, "d_avg": share, "norm": norm, "rate": rate}


def train(
    folder: Path,
    config: TrainConfig,
    make: Maker,
    device: torch.device,
    pace: SliceSchedule,
    validate: Validate | None = None,
    team: ProcessTeam | None = None,
    start: TrackimeS | None = None,
) -> TrainingRun:
    """Run a slice. SIGTERM ends it after the current step, its state saved and its processes ended.

    Args:
        folder: of the run; created, or continued if it exists.
        config: its configuration. A continued run may change `steps` only: the cosine is then stretched.
        make: renders worlds.
        device: device to train on.
        pace: duration and output.
        validate: scores of the mean weights.
        team: the processes that share each step, `config.processes` of them; only the leading one writes.
        start: weights that a new run starts from.

    Raises:
        InputError: the folder holds another run.
        SolveError: the gradients are no longer finite.
    """
    team = team or ProcessTeam()
    run = TrainingRun(config, device, team)
    if (folder / STATE).exists():
        run.load(folder / STATE)
        log.info("continuing at step %d of %d", run.step, config.steps)
    elif start is not None:
        run.start_from(start)
        if team.leads and validate is not None and pace.validate_every:
            folder.mkdir(parents=True, exist_ok=True)
            _validate(run, validate, folder)
    if team.leads:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic(folder / CONFIG) as temporary:
            temporary.write_text(config.as_json(), encoding="utf-8")
    begun = saved = time.monotonic()
    summary = _Summary(folder, config, run.step)
    last = min(config.steps, pace.until if pace.until is not None else config.steps)
    lost = 0
    source = batches(config, make, run.step, pace.workers, team.rank)
    try:
        stopped = _stop_on_sigterm()
        while run.step < last and not stopped:
            values = run.advance(next(source))
            lost = 0 if math.isfinite(values["norm"]) else lost + 1
            if lost == PATIENCE:
                raise SolveError(f"training: {PATIENCE} steps in a row had no finite gradient, at step {run.step}")
            now = time.monotonic()
            if team.leads:
                summary.add(run.step, values, now - begun, pace.log_every)
                if validate is not None and pace.validate_every and run.step % pace.validate_every == 0:
                    _validate(run, validate, folder)
                if now - saved > 60 * pace.save_minutes:
                    run.save(folder / STATE)
                    saved = now
            if pace.minutes is not None and team.agree(now - begun > 60 * pace.minutes):
                break
    finally:
        source.close()
    if team.leads:
        run.save(folder / STATE)
    return run


def _stop_on_sigterm() -> list[int]:
    """A list that is empty until SIGTERM arrives; only the main thread may listen."""
    stopped: list[int] = []
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    return stopped


def _validate(run: TrainingRun, validate: Validate, folder: Path) -> None:
    """Score the mean weights, and save them if they are the best so far."""
    network = run.mean_network()
    scores = validate(network)
    _append(folder / VALIDATION, {"step": run.step, **scores})
    log.info("step %d: %s", run.step, ", ".join(f"{k} {v:.3f}" for k, v in scores.items()))
    score = scores[_deciding(scores)]
    if score > run.best:
        run.best = score
        save_state(folder / BEST, network.state_dict(), {"step": run.step, "scores": scores})


def _deciding(scores: Mapping[str, Any]) -> str:
    """The score that chooses weights: real video's where it was measured."""
    return "pck" if "pck" in scores else "d_avg"


def _validated(file: Path) -> str:
    """What the last validation says beside the first one's, which is of the weights that the run started from."""
    if not file.exists():
        return ""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    name = _deciding(rows[-1])
    return f"; {name} {float(rows[-1][name]):.3f} at step {rows[-1]['step']}, {float(rows[0][name]):.3f} at first"


@dataclass
class _Summary:
    """Means over some steps, one line of the log each: what was seen, how fast, and how good it is."""

    folder: Path
    config: TrainConfig
    first: int
    rows: list[dict[str, float]] = field(default_factory=list)

    def add(self, step: int, values: dict[str, float], seconds: float, every: int) -> None:
        self.rows.append(values)
        if step % every:
            return
        means = {}
        for name in values:
            finite = [row[name] for row in self.rows if math.isfinite(row[name])]
            means[name] = sum(finite) / len(finite) if finite else math.nan
        _append(self.folder / LOG, {"step": step, "seconds": seconds, **means})
        seen, before = (
            self.config.processes * sum(self.config.stage(k).batch for k in range(n)) for n in (step, self.first)
        )
        log.info(
            "step %d of %d: %d clips seen, %.2f a second; loss %.3f, d_avg %.3f%s",
            step, self.config.steps, seen, (seen - before) / max(seconds, 1e-9), means["loss"], means["d_avg"],
            _validated(self.folder / VALIDATION),
        )  # fmt: skip
        self.rows.clear()


def _append(path: Path, row: dict[str, float]) -> None:
    """A line of a table; the header with the first."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({k: v if isinstance(v, int) else f"{v:.6g}" for k, v in row.items()})
