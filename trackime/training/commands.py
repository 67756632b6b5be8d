"""`python -m trackime.training`: train in slices, validate, export."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from trackime import trackers
from trackime.devices import resolve_device
from trackime.errors import InputError, TrackimeError
from trackime.trackers import EmbeddedTracker, PointTracker, load_weights, save_weights
from trackime.trackers.networks import TrackimeS
from trackime.training._config import PRESETS, TrainConfig
from trackime.training._loop import BEST, CONFIG, LOG, STATE, VALIDATION, SliceSchedule, TrainingRun, train
from trackime.training._pictures import draw_curve, draw_sheet
from trackime.training._state import load_state
from trackime.training._team import ProcessTeam, together
from trackime.training.data import Clips, WorldClips
from trackime.training.real import RealVideo, score_real
from trackime.training.validate import CALIBRATION_SEED, ValidationSet, Validator, calibrate, score

_SHOW = "draw the validation worlds with the worst scores"


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit code: 1 for a failure, with one line on stderr."""
    parser = argparse.ArgumentParser("python -m trackime.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_train(commands.add_parser("train", help="start a run, or continue one"))
    _add_validate(commands.add_parser("validate", help="score a tracker on held-out worlds"))
    _add_export(commands.add_parser("export", help="write the weights that the tracker loads"))
    _add_pictures(commands.add_parser("curve", help="draw the curve of a run"), commands.add_parser("show", help=_SHOW))
    options = parser.parse_args(arguments)
    try:
        options.work(options)
    except TrackimeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _add_worlds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", help="folder of photographs; without: procedural textures alone")
    parser.add_argument("--sprites", help="folder of cut-outs with alpha")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")


def _add_real(parser: argparse.ArgumentParser, how: str) -> None:
    parser.add_argument("--labelled", nargs="+", default=(), metavar="PROJECT",
                        help=f"real video {how}: DeepLabCut projects with labelled frames")  # fmt: skip
    parser.add_argument("--real-clips", nargs="+", default=(), metavar="FILE",
                        help=f"real video {how}: clips for the forward-backward return")  # fmt: skip


def _real(options: argparse.Namespace) -> RealVideo | None:
    return RealVideo(options.labelled, options.real_clips) if options.labelled or options.real_clips else None


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of the run; continued if it exists")
    _add_worlds(parser)
    parser.add_argument("--preset", choices=PRESETS, default="cpu", help="of a new run")
    parser.add_argument("--config", type=Path, help="of a new run: a configuration file instead of a preset")
    parser.add_argument("--from", type=Path, dest="start", metavar="WEIGHTS",
                        help="of a new run: start from exported weights")  # fmt: skip
    parser.add_argument("--nice", action="store_true", help="run at the lowest priority, on one thread")
    parser.add_argument("--cache", help="folder that keeps rendered worlds, for all runs")
    _add_real(parser, "in validation, which then chooses the weights")
    parser.add_argument("--steps", type=int, help="steps of the whole run; of an existing run: stretches its cosine")
    parser.add_argument("--minutes", type=float, help="end the slice after this long")
    parser.add_argument("--until", type=int, help="end the slice before this step")
    parser.add_argument("--processes", type=int, help="of a new run: processes that share each step")
    parser.add_argument("--workers", type=int, default=0, help="processes that make worlds; 0: those that train")
    parser.add_argument("--log-every", type=int, default=20, help="steps per line of the log")
    parser.add_argument("--validate-every", type=int, default=0, help="steps between validations; 0: none")
    parser.set_defaults(work=_train)


def _train(options: argparse.Namespace) -> None:
    file = options.run / CONFIG
    if file.is_file():
        config = TrainConfig.from_json(file.read_text(encoding="utf-8"))
    elif options.config is not None:
        config = TrainConfig.from_json(options.config.read_text(encoding="utf-8"))
    else:
        config = PRESETS[options.preset]
    if options.processes is not None and not file.is_file():
        config = replace(config, processes=options.processes)
    if options.steps is not None:
        config = replace(config, steps=options.steps)
    device = resolve_device(options.device)
    if options.nice:
        os.nice(19)
        torch.set_num_threads(1)
    worlds = WorldClips(
        options.images, options.sprites, "train", tuple(config.world.items()), str(device), options.cache
    )
    start = None if options.start is None else load_weights(options.start)
    pace = SliceSchedule(options.minutes, options.until, log_every=options.log_every,
                validate_every=options.validate_every, workers=options.workers)  # fmt: skip
    together(config.processes, _slice, options.run, config, worlds, device, pace, _real(options), start)


def _slice(
    team: ProcessTeam, run: Path, config: TrainConfig, worlds: WorldClips, device: torch.device, pace: SliceSchedule,
    real: RealVideo | None, start: TrackimeS | None,
) -> None:  # fmt: skip
    logging.basicConfig(level=logging.INFO if team.leads else logging.ERROR, format="%(asctime)s %(message)s")
    held_out = replace(worlds, split="val", cache=None)
    train(run, config, worlds, device, pace, Validator(held_out, real=real), team, start)


def _add_held(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tracker", help="a tracker's name, or trackime-s:FILE")
    _add_worlds(parser)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--side", type=int, default=256, help="pixels")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--points", type=int, default=32)


def _add_validate(parser: argparse.ArgumentParser) -> None:
    _add_held(parser)
    _add_real(parser, "in place of worlds")
    parser.set_defaults(work=_validate)


def _held(options: argparse.Namespace) -> tuple[PointTracker, Iterable[Clips]]:
    """The tracker, and the validation clips."""
    device = resolve_device(options.device)
    tracker = trackers.create(options.tracker, device=str(device))
    held = ValidationSet(options.clips, options.side, options.frames, options.points)
    return tracker, held.make(WorldClips(options.images, options.sprites, "val", device=str(device)))


def _validate(options: argparse.Namespace) -> None:
    if (real := _real(options)) is not None:
        scores = score_real(trackers.create(options.tracker, device=str(resolve_device(options.device))), real)
    else:
        scores = score(*_held(options))
    sys.stdout.write(json.dumps({"tracker": options.tracker, **{k: round(v, 4) for k, v in scores.items()}}) + "\n")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a .safetensors file")
    parser.add_argument("--last", action="store_true", help="the last mean weights instead of the best ones")
    _add_worlds(parser)
    text = "set the threshold of visibility on N held-out worlds; 0: leave it at 0.5"
    parser.add_argument("--calibrate", type=int, default=0, metavar="N", help=text)
    parser.set_defaults(work=_export)


def _export(options: argparse.Namespace) -> None:
    if not (options.run / CONFIG).is_file():
        raise InputError(f"{options.run}: expected the folder of a run, found no {CONFIG}")
    config = TrainConfig.from_json((options.run / CONFIG).read_text(encoding="utf-8"))
    if options.last or not (options.run / BEST).exists():
        run = TrainingRun(config, torch.device("cpu"))
        run.load(options.run / STATE)
        network = run.mean_network()
    else:
        network = TrackimeS(config.size)
        network.load_state_dict(load_state(options.run / BEST)[0])
    if options.calibrate:
        device = resolve_device(options.device)
        worlds = WorldClips(options.images, options.sprites, "val", device=str(device))
        held = ValidationSet(options.calibrate, seed=CALIBRATION_SEED)
        network.threshold = calibrate(EmbeddedTracker(network.eval(), device=device), held.make(worlds))
    save_weights(network, options.output)
    digest = hashlib.sha256(options.output.read_bytes()).hexdigest()
    sys.stdout.write(f"{digest}  {options.output}\n")


def _add_pictures(curve: argparse.ArgumentParser, show: argparse.ArgumentParser) -> None:
    curve.add_argument("run", type=Path, help="folder of a run")
    _add_held(show)
    for parser in (curve, show):
        parser.add_argument("-o", "--output", type=Path, required=True, help="an image file")
    curve.set_defaults(work=lambda o: draw_curve(o.run / LOG, o.run / VALIDATION, o.output))
    show.set_defaults(work=_show)


def _show(options: argparse.Namespace) -> None:
    tracker, clips = _held(options)
    draw_sheet(tracker, list(clips), options.output)
