"""files, registry, config and devices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trackime.config import check_choices, help_of, option
from trackime.devices import resolve_device
from trackime.errors import (
    DeviceError,
    FormatError,
    InputError,
    MissingExtraError,
    OutputError,
    TrackimeError,
    UnknownNameError,
)
from trackime.files import atomic, read_npz, reading
from trackime.registry import Registry


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


class TestAtomic:
    @pytest.mark.parametrize("name", ["", ".", "/", ".."])
    def test_no_name(self, name: str) -> None:
        with pytest.raises(OutputError, match="name of a file"), atomic(name):
            pytest.fail("entered")

    def test_nothing_written(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="nothing was written"), atomic(tmp_path / "a"):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_parent_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(OutputError, match="cannot write"), atomic(tmp_path / "file" / "a"):
            pytest.fail("entered")

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, TrackimeError])
    @pytest.mark.parametrize("folder", [False, True])
    def test_interrupted(self, tmp_path: Path, error: type[BaseException], folder: bool) -> None:
        target = tmp_path / "a.txt"
        target.write_text("old")
        with pytest.raises(error), atomic(target) as temporary:
            if folder:
                temporary.mkdir()
                (temporary / "b").write_text("half")
            else:
                temporary.write_text("half")
            raise error("stop")
        assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]

    def test_disk_full(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"cannot write .*a\.txt: No space left"), atomic(tmp_path / "a.txt"):
            raise OSError(28, "No space left on device")

    def test_file(self, tmp_path: Path) -> None:
        target = tmp_path / "new" / "folder" / "a.b.mp4"
        for text in ("one", "two"):
            with atomic(target) as temporary:
                assert temporary.parent == target.parent and temporary.suffix == ".mp4"
                assert temporary.name.startswith(".")
                temporary.write_text(text)
            assert target.read_text() == text
        assert names(target.parent) == ["a.b.mp4"]

    def test_folder_replaces_a_folder(self, tmp_path: Path) -> None:
        target = tmp_path / "out"
        for name in ("one", "two"):
            with atomic(target) as temporary:
                temporary.mkdir()
                (temporary / name).write_text(name)
        assert names(target) == ["two"] and names(tmp_path) == ["out"]

    def test_folder_comes_back_when_the_swap_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        target, real, calls = tmp_path / "out", os.replace, []
        target.mkdir()
        (target / "old").write_text("old")

        def second_fails(a: Any, b: Any) -> None:
            calls.append(a)
            if len(calls) == 2:
                raise OSError(5, "Input/output error")
            real(a, b)

        monkeypatch.setattr("trackime.files.os.replace", second_fails)
        with pytest.raises(OutputError, match="Input/output"), atomic(target) as temporary:
            temporary.mkdir()
        assert names(target) == ["old"] and names(tmp_path) == ["out"]

    def test_a_file_does_not_replace_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        with pytest.raises(OutputError), atomic(tmp_path / "out") as temporary:
            temporary.write_text("x")
        assert names(tmp_path) == ["out"]


class TestReading:
    @pytest.mark.parametrize(
        "error",
        [ValueError("two\nlines"), KeyError("x"), OSError(5, "broken"), MemoryError(), RecursionError(), EOFError()],
    )
    def test_one_line(self, error: Exception) -> None:
        with pytest.raises(FormatError) as caught, reading("a/b.csv", "a csv of tracks"):
            raise error
        assert str(caught.value).startswith("a/b.csv: expected a csv of tracks, got: ")
        assert "\n" not in str(caught.value) and not str(caught.value).endswith(": ")

    def test_own_errors_are_said_once(self) -> None:
        with pytest.raises(FormatError, match=r"^a\.csv: bad row$"), reading("a.csv", "x"):
            raise InputError("bad row")
        with pytest.raises(FormatError, match=r"^a\.csv: bad row$"), reading("a.csv", "x"):
            raise FormatError("a.csv: bad row")

    def test_bugs_and_ctrl_c_pass(self) -> None:
        for error in (AssertionError, KeyboardInterrupt, ImportError):
            with pytest.raises(error), reading("a.csv", "x"):
                raise error

    def test_npz(self, tmp_path: Path) -> None:
        path = tmp_path / "x.npz"
        np.savez(path, a=np.arange(3), b=np.array([{}], dtype=object), c=np.zeros(2))
        assert sorted(read_npz(path, ["a"], ["c", "d"])) == ["a", "c"]
        with pytest.raises(FormatError, match=r"expected arrays a, d; missing d"):
            read_npz(path, ["a", "d"])
        with pytest.raises(FormatError, match="allow_pickle"), reading(path, "numbers"):
            read_npz(path, ["b"])


@dataclass(frozen=True)
class Made:
    device: str = "cpu"
    path: str = ""
    arguments: tuple[Any, ...] = ()


def make_plain(device: str = "cpu") -> Made:
    return Made(device)


def make_bare() -> Made:
    return Made("its own")


def make_from(path: str, device: str = "cpu") -> Made:
    return Made(device, path)


def make_any(**options: Any) -> Made:
    return Made(arguments=tuple(sorted(options)))


def make_extra() -> Made:
    raise MissingExtraError("it", "models")


class TestRegistry:
    @pytest.fixture(autouse=True)
    def third_party(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        entries = [
            EntryPoint("plugin", "math:hypot", "trackime.tests"),
            EntryPoint("zz", "nothing_of_the_kind:make", "trackime.tests"),
            EntryPoint("lost", "math:no_such_function", "trackime.tests"),
            EntryPoint("zz", "twice:make", "trackime.tests"),
            EntryPoint("plain", "shadow:make", "trackime.tests"),
        ]
        monkeypatch.setattr("trackime.registry.entry_points", lambda group: [e for e in entries if e.group == group])
        module = type("module", (), {k: staticmethod(v) for k, v in globals().items() if k.startswith("make_")})
        monkeypatch.setattr("trackime.registry.import_module", lambda name: module)
        yield

    @pytest.fixture
    def registry(self) -> Registry[Made]:
        builtin = {name: f"here:make_{name}" for name in ("plain", "bare", "from", "any", "extra")}
        return Registry("tracker", "trackime.tests", builtin)

    @pytest.mark.parametrize("name", ["", "Plain", "nothing", "nothing:path", ":plain"])
    def test_unknown(self, registry: Registry[Made], name: str) -> None:
        with pytest.raises(UnknownNameError, match=r"tracker .*plain, bare, from, any, extra, lost, plugin, zz$"):
            registry.create(name)

    def test_options_it_does_not_take(self, registry: Registry[Made]) -> None:
        with pytest.raises(InputError, match="tracker plain takes no 'speed': expected device"):
            registry.create("plain", speed=3)
        with pytest.raises(InputError, match="tracker plain takes no 'path'"):
            registry.create("plain:/a/b.pt")
        with pytest.raises(InputError, match="tracker bare takes no 'speed': expected none"):
            registry.create("bare", device="cpu", speed=3)

    def test_options_it_needs(self, registry: Registry[Made]) -> None:
        with pytest.raises(InputError, match=r"tracker from needs 'path' \(write from:PATH\)"):
            registry.create("from", device="cpu")

    def test_third_parties_that_cannot_be_imported(self, registry: Registry[Made]) -> None:
        for name in ("zz", "lost"):
            with pytest.raises(InputError, match=f"tracker {name}: .* cannot be imported"):
                registry.create(name)

    def test_a_missing_extra_says_so(self, registry: Registry[Made]) -> None:
        with pytest.raises(MissingExtraError):
            registry.create("extra")

    def test_made(self, registry: Registry[Made]) -> None:
        assert registry.names() == ["plain", "bare", "from", "any", "extra", "lost", "plugin", "zz"]
        assert registry.create("plain", device="x") == Made("x")
        assert registry.create("bare", device="x") == Made("its own")
        assert registry.create("from:/a/b:c.pt") == Made(path="/a/b:c.pt")
        assert registry.create("any:w", speed=1).arguments == ("path", "speed")


class TestConfig:
    @dataclass(frozen=True)
    class Config:
        mode: str = option("fast", "How.", ("fast", "exact"))
        size: int = option(3, "Pixels.")

        def __post_init__(self) -> None:
            check_choices(self)

    def test_choices(self) -> None:
        with pytest.raises(InputError, match="mode: expected one of fast, exact, got 'slow'"):
            self.Config(mode="slow")
        assert self.Config(mode="exact", size=99).size == 99

    def test_help(self) -> None:
        assert [help_of(f) for f in fields(self.Config)] == ["How.", "Pixels."]
        assert help_of(fields(Made)[0]) == ""


class TestDevices:
    @pytest.mark.parametrize(
        "name", ["", "gpu", "cpu:", "cpu:0", "cpu:1", "cuda:", "cuda:-1", "cuda:x", "cuda:²", "mps:1", "CPU", "auto:0"]
    )
    def test_no_such_name(self, name: str) -> None:
        with pytest.raises(InputError, match="expected auto, cpu, cuda, cuda:N or mps"):
            resolve_device(name)

    def test_a_named_device_never_falls_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
        for name in ("cuda", "cuda:0", "mps"):
            with pytest.raises(DeviceError, match=f"device {name}"):
                resolve_device(name)
        assert resolve_device("auto") == resolve_device("cpu") == resolve_device(torch.device("cpu"))

    def test_cuda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
        assert resolve_device() == torch.device("cuda")
        assert resolve_device("cuda:01") == torch.device("cuda:1") == resolve_device(torch.device("cuda:1"))
        with pytest.raises(DeviceError, match=r"0 \.\. 1"):
            resolve_device("cuda:2")

    def test_mps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
        assert resolve_device() == resolve_device("mps") == torch.device("mps")
