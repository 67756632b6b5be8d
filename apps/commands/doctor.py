"""`trackime-apps doctor`: what is installed, whether it works, and how to fix what does not."""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np

from trackime.checkpoints import CHECKPOINTS
from trackime.checkpoints import store as models
from trackime.errors import MissingExtraError, TrackimeError

from ..run import Command, console, debug_option, device_option, is_cached

_PACKAGES = {
    "torch": "torch",
    "numpy": "numpy",
    "scipy": "scipy",
    "av": "av",
    "opencv-python-headless": "cv2",
    "scikit-image": "skimage",
    "kornia": "kornia",
    "pillow": "PIL",
    "pycocotools": "pycocotools",
    "safetensors": "safetensors",
    "pooch": "pooch",
    "filelock": "filelock",
    "lazy-loader": "lazy_loader",
    "tomli-w": "tomli_w",
    "click": "click",
    "rich": "rich",
}
"""Required packages: name on the index to name at import."""

_EXTRAS = {
    "models": (("transformers",), "SAM family, Depth Anything, ZoeDepth, DPT"),
    "edgetam": (("transformers", "timm"), "EdgeTAM"),
    "sam": (("segment_anything",), "models of segment-anything itself"),
    "lpips": (("lpips",), "perceptual scores"),
    "open3d": (("open3d",), "meshes of depth"),
    "rerun": (("rerun",), "the rerun viewer"),
    "exr": (("OpenEXR",), "EXR files"),
}
"""Extra of the package to (names at import, what it is good for)."""

_GOOD, _MISSING, _BAD = "ok", "missing", "FAILED"
_OLDEST = (3, 11)
_EMBEDDED = ("lk", "correlation", "trackime-s", "graphcut")
"""Required to work: they come with the package."""


@dataclass(frozen=True)
class _Finding:
    """One line of the report: what was checked, its state (ok, missing, FAILED), and details or a remedy."""

    part: str
    name: str
    state: str
    detail: str = ""


@click.command("doctor", cls=Command)
@device_option("Device to test trackers, segmenters and depth networks on.")
@click.option("--quiet", is_flag=True, help="Print failures only.")
@debug_option
@click.pass_context
def command(ctx: click.Context, device: str, quiet: bool) -> None:
    """Check the installation: versions, devices, codecs, checkpoints, trackers, segmenters, depth networks, extras.

    Models whose checkpoints are in the cache are loaded and run on a few frames; nothing is downloaded. The exit code
    is 1 if a required part fails.
    """
    findings = list(_examine(device))
    failed = [f for f in findings if f.state == _BAD]
    _show(failed if quiet else findings)
    if not quiet:
        click.echo(f"{len(failed)} required parts fail" if failed else "everything required works")
    ctx.exit(1 if failed else 0)


def _examine(device: str = "auto") -> Iterator[_Finding]:
    """Check everything, part by part. Nothing raises: a failure is a finding."""
    yield from _packages()
    if find_spec("torch") is None:
        return
    yield from _devices()
    yield _attempt("codec", "h264 in mp4", _round_trip)
    yield _checkpoints()
    yield from _registered("tracker", device, _try_tracker)
    yield from _registered("segmenter", device, _try_segmenter)
    yield from _depth_models(device)
    yield from _extras()


def _show(findings: list[_Finding]) -> None:
    """A table on stdout."""
    if not findings:
        return
    from rich.table import Table
    from rich.text import Text

    colours = {_GOOD: "green", _MISSING: "yellow", _BAD: "bold red"}
    table = Table(box=None, pad_edge=False, show_header=False)
    last = ""
    for finding in findings:
        state = Text(finding.state, colours[finding.state])
        table.add_row("" if finding.part == last else finding.part, Text(finding.name), state, Text(finding.detail))
        last = finding.part
    console().print(table)


def _attempt(part: str, name: str, work: Callable[[], str], required: bool = True) -> _Finding:
    """The finding of a check that returns its details; a failure counts as missing unless the part is `required`."""
    try:
        return _Finding(part, name, _GOOD, work())
    except MissingExtraError as error:
        return _Finding(part, name, _MISSING, str(error))
    except TrackimeError as error:
        return _Finding(part, name, _BAD if required else _MISSING, str(error))
    except Exception as error:
        return _Finding(part, name, _BAD if required else _MISSING, f"{type(error).__name__}: {error}".splitlines()[0])


def _packages() -> Iterator[_Finding]:
    running, oldest = sys.version.split()[0], ".".join(map(str, _OLDEST))
    good = sys.version_info >= _OLDEST
    yield _Finding("package", "python", _GOOD if good else _BAD, running if good else f"{running}: needs {oldest}")
    for name, module in _PACKAGES.items():
        yield _attempt("package", name, lambda name=name, module=module: _version(name, module))  # type: ignore[misc]


def _version(name: str, module: str) -> str:
    try:
        loaded = import_module(module)
    except ImportError as error:
        raise TrackimeError(f"{error}: pip install '{name}'") from None
    try:
        return version(name)
    except PackageNotFoundError:  # opencv comes under several names
        return str(getattr(loaded, "__version__", "installed"))


def _devices() -> Iterator[_Finding]:
    import torch

    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    for name in names:
        yield _attempt("device", name, lambda name=name: _try_device(name))  # type: ignore[misc]
    if len(names) == 1:
        yield _Finding("device", "cuda, mps", _MISSING, f"none here (torch {torch.__version__}): the CPU is used")


def _try_device(name: str) -> str:
    import torch

    device = torch.device(name)
    value = float((torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)).sum())
    if value != 512:
        raise TrackimeError(f"a product of ones sums to {value:g}: expected 512")
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return f"{torch.get_num_threads()} threads" if device.type == "cpu" else "works"


def _picture(frames: int, height: int = 96, width: int = 128) -> np.ndarray:
    """Smooth texture that moves 2 px a frame to the right: uint8 [T, H, W, 3]."""
    y, x = np.mgrid[:height, :width]
    waves = [
        np.stack([np.sin((x - 2 * t) / 5 + c) + np.cos(y / 6 - c) + np.sin((x - 2 * t + y) / 9) for c in range(3)], -1)
        for t in range(frames)
    ]
    return np.clip(128 + 40 * np.stack(waves), 0, 255).astype(np.uint8)


def _round_trip() -> str:
    from trackime.video import VideoWriter, open_video

    frames = _picture(8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.mp4"
        with VideoWriter(path, frames.shape[2], frames.shape[1], fps=25) as writer:
            for frame in frames:
                writer.write(frame)
        with open_video(path) as video:
            back = video.read(0, len(video))
    if back.shape != frames.shape:
        raise TrackimeError(f"wrote {list(frames.shape)}, read back {list(back.shape)}")
    error = float(np.abs(back.astype(int) - frames).mean())
    if error > 12:
        raise TrackimeError(f"frames come back changed by {error:.1f} of 255 on average: expected below 12")
    return f"8 frames written and read, mean error {error:.1f} of 255"


def _checkpoints() -> _Finding:
    here = sum(map(is_cached, CHECKPOINTS))
    detail = f"{here} of {len(CHECKPOINTS)} in {models.home()}"
    return _Finding("models", "checkpoints", _GOOD if here else _MISSING, f"{detail}: trackime-apps models list")


def _registered(kind: str, device: str, attempt: Callable[[str, str], str]) -> Iterator[_Finding]:
    """Test everything registered whose checkpoint is in the cache, without downloads.

    What comes with the package must work, and so must a fetched checkpoint; an extra may be missing.
    """
    registry = import_module(f"trackime.{kind}s")
    for name in registry.names():
        known = name in CHECKPOINTS
        if known and not is_cached(name):
            yield _not_cached(kind, name)
            continue
        with models.offline():
            work = functools.partial(attempt, name, device)
            yield _attempt(kind, name, work, name in _EMBEDDED or known)


def _depth_models(device: str) -> Iterator[_Finding]:
    """Test every depth network whose checkpoint is in the cache, without downloads."""
    for name in (row.name for row in CHECKPOINTS.values() if row.kind == "depth"):
        if not is_cached(name):
            yield _not_cached("depth", name)
            continue
        with models.offline():
            yield _attempt("depth", name, functools.partial(_try_depth, name, device))


def _not_cached(kind: str, name: str) -> _Finding:
    size = CHECKPOINTS[name].size
    detail = f"{size / 1e6:.0f} MB: " if size else ""
    return _Finding(kind, name, _MISSING, f"{detail}trackime-apps models fetch {name}")


def _try_tracker(name: str, device: str) -> str:
    import torch

    from trackime import trackers
    from trackime.devices import resolve_device
    from trackime.geometry import to_torch

    place = str(resolve_device(device))
    start = time.perf_counter()
    tracker = trackers.create(name, device=place)
    made = time.perf_counter()
    queries = torch.tensor([[[30.5, 40.5, 0.0], [60.5, 50.5, 0.0]]])
    with torch.inference_mode():
        xy, _ = tracker.track(to_torch(_picture(4), place)[None], queries.to(place))
    error = float((xy[0, :, -1].cpu() - queries[0, :, :2] - torch.tensor([6.0, 0.0])).norm(dim=-1).mean())
    return f"{_spent(start, made)}; {error:.2f} px off after 3 frames ({place})"


def _try_segmenter(name: str, device: str) -> str:
    import torch

    from trackime import segmenters
    from trackime.devices import resolve_device
    from trackime.geometry import to_torch

    place = str(resolve_device(device))
    start = time.perf_counter()
    segmenter = segmenters.create(name, device=place)
    made = time.perf_counter()
    frame = _picture(1)
    frame[0, 30:60, 40:80] = (220, 40, 40)
    points = torch.tensor([[[60.5, 45.5]]], device=place)
    with torch.inference_mode():
        logits, _ = segmenter.decode(
            segmenter.encode(to_torch(frame, place)[0]), points, torch.ones(1, 1, device=place)
        )
    found, truth = logits[0].cpu().numpy() > 0, np.zeros(frame.shape[1:3], bool)
    truth[30:60, 40:80] = True
    overlap = (found & truth).sum() / max(1, (found | truth).sum())
    return f"{_spent(start, made)}; overlap {overlap:.2f} on a red box ({place})"


def _try_depth(name: str, device: str) -> str:
    from ..depth.source import DepthModel

    start = time.perf_counter()
    network = DepthModel(name, device)
    made = time.perf_counter()
    found = network.predict(_picture(1))[0]
    if not np.isfinite(found).all():
        raise TrackimeError("expected finite depth, got NaN or infinity")
    what = "metres" if network.metric else "disparity"
    return f"{_spent(start, made)}; {what} {found.min():.3g} .. {found.max():.3g} ({network.device})"


def _spent(start: float, made: float) -> str:
    return f"loaded in {made - start:.2f} s, ran in {time.perf_counter() - made:.2f} s"


def _extras() -> Iterator[_Finding]:
    for extra, (modules, purpose) in _EXTRAS.items():
        absent = [module for module in modules if find_spec(module) is None]
        remedy = f"{purpose}: pip install 'trackime[{extra}]'"
        yield _Finding("extra", extra, _MISSING if absent else _GOOD, remedy if absent else purpose)
