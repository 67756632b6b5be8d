"""Networks of depth that see one frame at a time: what is refused, what they give, in batches and for a video."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from trackime.checkpoints import CHECKPOINTS
from trackime.checkpoints import store as models
from trackime.errors import DeviceError, DownloadError, FormatError, InputError, MissingExtraError, UnknownNameError
from trackime.video import Video, open_video
from trackime_apps.commands import doctor
from trackime_apps.depth.initial_depth import DepthMaps
from trackime_apps.depth.source import models as start_models

WIDTH, HEIGHT, FRAMES = 80, 60, 5


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """uint8 [T, H, W, 3], smooth, each frame another picture."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 255, (FRAMES, 6, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(c, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for c in coarse])


@pytest.fixture
def video(frames: np.ndarray) -> Video:
    return open_video(frames)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("transformers")
    from tests.apps.depth import models as depth_models

    base = tmp_path_factory.mktemp("models")
    return {
        "anything": depth_models.depth_anything(base / "anything"),
        "metric": depth_models.depth_anything(base / "metric", metric=True),
        "zoe": depth_models.zoedepth(base / "zoe"),
        "zoe two": depth_models.zoedepth(base / "zoe two", heads=2),
        "dpt": depth_models.dpt(base / "dpt"),
        "hybrid": depth_models.dpt(base / "hybrid", hybrid=True),
    }


def answer(maps: DepthMaps, t: int) -> np.ndarray:
    """What the network said of frame t: its small disparities are large depths, and so are their roundings."""
    return 1 / maps.depth(t) if maps.disparity else maps.depth(t)


KINDS = ["anything", "metric", "zoe", "zoe two", "dpt", "hybrid"]


def test_names_are_in_the_registry() -> None:
    assert start_models._names()[0] == "depth-anything-v2-small"
    licences = {name: CHECKPOINTS[name].licence for name in start_models._names()}
    assert licences["depth-anything-v2-small"] == "Apache-2.0" and licences["zoedepth"] == "MIT"
    assert all(("base" in n or ("large" in n and "dpt" not in n)) == ("-NC" in v) for n, v in licences.items())


def test_unknown_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video: Video) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(UnknownNameError, match="unknown depth model 'midas': expected one of depth-anything-v2-small"):
        start_models.DepthModel("midas", "cpu")
    with pytest.raises(InputError, match=r"expected a folder with config.json and model.safetensors, found no "):
        start_models.DepthModel(str(tmp_path / "none"), "cpu")
    monkeypatch.setenv("TRACKIME_HOME", str(tmp_path))
    monkeypatch.setenv("TRACKIME_OFFLINE", "1")
    with pytest.raises(DownloadError, match="zoedepth is not here: run 'trackime-apps models fetch zoedepth'"):
        start_models.DepthModel("zoedepth", "cpu")
    with pytest.raises(InputError, match="batch: expected 1 frame or more, got 0"):
        start_models.estimate(video, tmp_path / "maps", "zoedepth", batch=0)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"zoedepth .* pip install 'trackime\[models\]'"):
        start_models.DepthModel("zoedepth", "cpu")


def test_a_network_by_name(saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files put there by hand are as good as fetched ones: found by name, checked, and tried by `doctor`."""
    monkeypatch.setenv("TRACKIME_HOME", str(tmp_path))
    name = "depth-anything-v2-small"
    (before,) = (f for f in doctor._depth_models("cpu") if f.name == name)
    assert before.state == doctor._MISSING and f"trackime-apps models fetch {name}" in before.detail
    assert models._place(name) == tmp_path / "models" / name
    shutil.copytree(saved["anything"], models._place(name))
    assert models.state(name) == models.UNCHECKED
    (finding,) = (f for f in doctor._depth_models("cpu") if f.name == name)
    assert finding.state == doctor._GOOD and "disparity 0." in finding.detail
    assert models.state(name) == models.verify(name) == models.FETCHED
    (models._place(name) / "model.safetensors").write_bytes(b"changed")
    (finding,) = (f for f in doctor._depth_models("cpu") if f.name == name)
    assert finding.state == doctor._BAD and "is not the file that was first seen" in finding.detail


def broken(saved: dict[str, Path], target: Path, kind: str, change: str) -> None:
    shutil.copytree(saved[kind], target)
    config, prepare = target / "config.json", target / "preprocessor_config.json"
    if change == "no config":
        config.unlink()
    elif change == "pickle":
        (target / "model.safetensors").unlink()
        (target / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    elif change == "cut":
        (target / "model.safetensors").write_bytes((target / "model.safetensors").read_bytes()[:2000])
    elif change == "preprocessor":
        prepare.write_text("[")
    elif change == "not square":
        prepare.write_text('{"size": {"height": 64, "width": 96}}')
    else:
        values = json.loads(config.read_text())
        if change == "type":
            values["model_type"] = "sam"
        elif change == "timm":
            values["backbone_config"] = {"model_type": "timm_backbone", "backbone": "resnet18"}
        elif change == "backbone":
            values["backbone"] = "facebook/dinov2-base"
        elif change == "size":
            values["fusion_hidden_size"] = 16
        config.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("anything", "no config", "expected a config.json"),
        ("anything", "pickle", "expected model.safetensors"),
        ("anything", "cut", "cannot be loaded"),
        ("anything", "preprocessor", "expected a preprocessor_config.json"),
        ("anything", "type", "expected a model of type depth_anything or zoedepth or dpt"),
        ("anything", "timm", "expected a backbone_config of dinov2, beit, bit, swin, swinv2, got a backbone 'timm"),
        ("anything", "backbone", "expected a backbone_config of dinov2, beit, bit, swin, swinv2, got backbone"),
        ("anything", "size", "do not fit|cannot be loaded"),
        ("dpt", "not square", "expected square images for DPT"),
    ],
)
def test_broken_folders(saved: dict[str, Path], tmp_path: Path, kind: str, change: str, told: str) -> None:
    broken(saved, tmp_path / "model", kind, change)
    with pytest.raises(FormatError, match=told) as caught:
        start_models.DepthModel(str(tmp_path / "model"), "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_those_of_transformers(saved: dict[str, Path], tmp_path: Path, video: Video, kind: str) -> None:
    """Its processor's images through its network, and the answer resized by torch: disparity, or metres."""
    transformers = pytest.importorskip("transformers")
    model = start_models.DepthModel(str(saved[kind]), "cpu")
    assert (model.disparity, model.metric) == ((False, True) if kind in ("metric", "zoe", "zoe two") else (True, False))
    network = transformers.AutoModelForDepthEstimation.from_pretrained(saved[kind]).eval()
    frames = video.read(0, FRAMES)
    with torch.no_grad():
        theirs = network(pixel_values=model.recipe.images(frames)).predicted_depth
    maps = start_models.estimate(video, tmp_path / "maps", str(saved[kind]), device="cpu", batch=2)
    assert (maps.disparity, maps.metric) == (model.disparity, model.metric)
    for t in range(FRAMES):
        expected = model.recipe.over_frame(theirs[t][None], HEIGHT, WIDTH)[0].numpy()
        assert expected.shape == maps.depth(t).shape and expected.std() > 0
        known = expected > (expected.max() / start_models._FARTHEST if maps.disparity else 0)
        np.testing.assert_allclose(answer(maps, t)[known], expected[known], rtol=2e-4, atol=1e-5)
        assert (maps.frame(t)[1] == known).all()
    rows = np.abs(maps.depth(0) - maps.depth(1))
    assert rows.max() > 1e-3  # the picture matters


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_what_is_there_already(
    saved: dict[str, Path], tmp_path: Path, video: Video, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    model, told = str(saved[kind]), []
    one = start_models.estimate(video, tmp_path / "one", model, device="cpu", batch=1)
    whole = start_models.estimate(
        video, tmp_path / "whole", model, device="cpu", batch=8, progress=lambda *step: told.append(step)
    )
    assert told == [("depth", FRAMES, FRAMES)]
    for t in range(FRAMES):
        np.testing.assert_allclose(answer(one, t), answer(whole, t), rtol=1e-4, atol=1e-5)
    before = answer(whole, 3)
    for t in (1, 3):
        (tmp_path / "whole" / f"{t:05d}.npz").unlink()
    seen: list[int] = []
    predict = start_models.DepthModel.predict
    monkeypatch.setattr(start_models.DepthModel, "predict", lambda self, f: seen.append(len(f)) or predict(self, f))
    start_models.estimate(video, tmp_path / "whole", model, device="cpu", batch=8)
    assert seen == [2]
    np.testing.assert_allclose(answer(whole, 3), before, rtol=1e-4, atol=1e-5)


def test_one_head_of_zoedepth_for_the_whole_video(saved: dict[str, Path], tmp_path: Path, video: Video) -> None:
    """Frames that disagree on the head: transformers takes the vote of a batch, here all are of one scale."""
    transformers = pytest.importorskip("transformers")
    network = transformers.AutoModelForDepthEstimation.from_pretrained(saved["zoe two"]).eval()
    prepare = start_models.DepthModel(str(saved["zoe two"]), "cpu").recipe.images
    frames = prepare(video.read(0, FRAMES))
    last = [m for m in network.metric_head.mlp_classifier.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        logits = network(pixel_values=frames).domain_logits
        last.bias[0] -= (logits[:, 0] - logits[:, 1]).sort().values[1:3].mean()  # two frames against three
        folder = tmp_path / "model"
        network.save_pretrained(folder)
        shutil.copy(saved["zoe two"] / "preprocessor_config.json", folder)
        logits = network(pixel_values=frames).domain_logits
        together = network(pixel_values=frames).predicted_depth
        alone = torch.cat([network(pixel_values=f[None]).predicted_depth for f in frames])
    assert len(logits.argmax(1).unique()) == 2 and (together - alone).abs().max() > 1e-2 * together.mean()
    maps = start_models.estimate(video, tmp_path / "maps", str(folder), device="cpu", batch=1)
    recipe = start_models.DepthModel(str(folder), "cpu").recipe
    for t in range(FRAMES):
        expected = recipe.over_frame(together[t][None], HEIGHT, WIDTH)[0].numpy()
        np.testing.assert_allclose(maps.depth(t), expected, rtol=2e-4)


class Stand:
    """In place of a network: disparity that is the frame's red, in the batches it has memory for."""

    def __init__(self, room: int = 99, disparity: bool = True) -> None:
        self.room, self.disparity, self.metric, self.votes = room, disparity, not disparity, False
        self.device, self.seen = torch.device("cpu"), list[int]()

    def predict(self, frames: np.ndarray) -> np.ndarray:
        self.seen.append(len(frames))
        if len(frames) > self.room:
            raise torch.OutOfMemoryError("no room")
        return frames[..., 0].astype(np.float32)


def estimate_by(stand: Stand, video: Video, folder: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> DepthMaps:
    monkeypatch.setattr(start_models, "DepthModel", lambda model, device: stand)
    return start_models.estimate(video, folder, "stand", batch=batch)


def test_out_of_memory(tmp_path: Path, video: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand(room=1)
    maps = estimate_by(stand, video, tmp_path / "maps", monkeypatch, 4)
    assert stand.seen == [4, 2, 1, 1, 1, 1, 1] and all(t in maps for t in range(FRAMES))
    with pytest.raises(DeviceError, match="out of memory on one frame of 80x60 by stand on cpu"):
        estimate_by(Stand(room=0), video, tmp_path / "none", monkeypatch, 4)


def test_the_sky_is_far_and_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.full((1, 4, 6, 3), 200, np.uint8)
    frames[0, :2] = 0
    maps = estimate_by(Stand(), open_video(frames), tmp_path / "a", monkeypatch, 1)
    np.testing.assert_allclose(maps.depth(0)[:2], start_models._FARTHEST / 200)
    np.testing.assert_allclose(maps.depth(0)[2:], 1 / 200)
    assert not maps.frame(0)[1][:2].any() and maps.frame(0)[1][2:].all()
    metric = estimate_by(Stand(disparity=False), open_video(frames), tmp_path / "b", monkeypatch, 1)
    assert (metric.depth(0)[:2] == 0).all() and (metric.depth(0)[2:] == 200).all()
    with pytest.raises(FormatError, match="stand: frame 0: expected positive numbers of it, got none"):
        estimate_by(Stand(), open_video(frames * 0), tmp_path / "c", monkeypatch, 1)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_gives_the_same(saved: dict[str, Path], tmp_path: Path, video: Video, kind: str) -> None:
    here = start_models.estimate(video, tmp_path / "a", str(saved[kind]), device="cpu")
    there = start_models.estimate(video, tmp_path / "b", str(saved[kind]), device="cuda")
    for t in range(FRAMES):
        np.testing.assert_allclose(answer(here, t), answer(there, t), rtol=1e-2, atol=1e-3)
