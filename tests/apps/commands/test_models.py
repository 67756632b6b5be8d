"""`models` from the outside, `--offline`, and what `doctor` says of checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.registry_rows import SHA, row
from tests.server import BODY, Server, running, serve, status
from trackime.checkpoints import CHECKPOINTS
from trackime.checkpoints import store as models
from trackime.checkpoints.catalog import _NON_COMMERCIAL, RemoteFile
from trackime.errors import MissingExtraError
from trackime.trackers import registry
from trackime_apps.commands import doctor
from trackime_apps.commands import models as command
from trackime_apps.run import Progress

DOCS = Path(__file__).resolve().parents[3] / "docs" / "models.md"


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Two checkpoints on a local server, one with a published digest."""
    monkeypatch.setenv("TRACKIME_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRACKIME_OFFLINE", raising=False)
    with running() as server:
        rows = {
            "one": row("one", RemoteFile(server.url("one.pt"), "one.pt", len(BODY), SHA)),
            "two": row("two", RemoteFile(server.url("two.pt"), "two.pt"), licence=_NON_COMMERCIAL),
        }
        for module in (models, command, doctor):
            monkeypatch.setattr(module, "CHECKPOINTS", rows)
        yield server


def states(out: str) -> dict[str, str]:
    return {line.split()[0]: next(w for w in line.split() if w in STATES) for line in out.splitlines()[1:-1]}


STATES = (models.ABSENT, models.PARTIAL, models.UNCHECKED, models.FETCHED, models.VERIFIED)


def test_list_fetch_verify_path(run: Any, known: Server, tmp_path: Path) -> None:
    assert states(run("models", "list").out) == {"one": "absent", "two": "absent"}
    assert run("models", "verify").out == f"no checkpoint in {tmp_path / 'home'}\n"
    ran = run("models", "fetch", "one", "two")
    place = tmp_path / "home" / "models" / "one" / "one.pt"
    assert ran.code == 0 and f"one: {place} (its digest is the published one)\n" in ran.out
    assert "two.pt (trusted on first use)" in ran.out
    assert ran.err.count("\n") == 3 and "two: its licence is CC-BY-NC-4.0: not for commercial use" in ran.err
    assert states(run("models", "list").out) == {"one": "verified", "two": "fetched"}
    assert run("models", "path", "one").out == f"{place}\n"
    assert run("models", "verify").out == (
        "one: ok (its digest is the published one)\ntwo: ok (trusted on first use)\n"
    )
    known.seen.clear()
    assert run("models", "fetch", "--all", "--quiet").out == "" and not known.seen
    place.write_bytes(b"changed")
    ran = run("models", "verify", "--quiet")
    assert (ran.code, ran.out) == (1, "") and ran.err.count("\n") == 1 and "not the file that was published" in ran.err
    assert states(run("models", "list").out)["one"] == "unchecked"
    assert run("models", "verify", "two").code == 0


def test_what_is_not_here(run: Any, known: Server) -> None:
    for words in (("path", "one"), ("verify", "one")):
        ran = run("models", *words)
        assert ran.code == 1 and ran.out == "" and ran.err.count("\n") == 1
        assert "trackime-apps models fetch one" in ran.err and known.url("one.pt") in ran.err


@pytest.mark.parametrize("by_option", [True, False])
def test_fetch_downloads_nothing_offline(
    run: Any, known: Server, monkeypatch: pytest.MonkeyPatch, by_option: bool
) -> None:
    if not by_option:
        monkeypatch.setenv("TRACKIME_OFFLINE", "1")
    ran = run("models", "fetch", "one", "two", *(["--offline"] if by_option else []))
    assert ran.code == 1 and ran.out == "" and ran.err.count("\n") == 2 and not known.seen
    assert "one is not here" in ran.err and "two is not here" in ran.err and "nothing is downloaded now" in ran.err


def test_a_failure_does_not_stop_the_others(run: Any, known: Server) -> None:
    known.answers = [status(404), serve()]
    ran = run("models", "fetch", "--all")
    assert ran.code == 1 and "answers 404" in ran.err and "Traceback" not in ran.err
    assert states(run("models", "list").out) == {"one": "absent", "two": "fetched"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fetch"], "expected names, or --all"),
        (["fetch", "one", "--all"], "expected names, or --all"),
        (["fetch", "nope"], "unknown checkpoint 'nope': expected one of one, two"),
        (["verify", "nope"], "unknown checkpoint"),
        (["path", "nope"], "unknown checkpoint"),
        (["path"], "Missing argument"),
        (["nope"], "No such command"),
    ],
)
def test_usage(run: Any, known: Server, words: list[str], said: str) -> None:
    ran = run("models", *words)
    assert ran.code == 2 and said in ran.err and ran.err.count("\n") == 1


def test_ctrl_c_is_130_and_leaves_no_file(run: Any, known: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real = models.download

    def stopped(url: str, target: Path, sha256: str | None, label: str, report: Any, patience: Any) -> str:
        def stop(stage: str, done: int, total: int) -> None:
            if done:
                raise KeyboardInterrupt

        return real(url, target, sha256, label, stop, patience)

    monkeypatch.setattr(models, "download", stopped)
    ran = run("models", "fetch", "one")
    assert ran.code == 130 and ran.err.endswith("interrupted\n")
    assert states(run("models", "list").out)["one"] == "absent"
    monkeypatch.setattr(models, "download", real)
    assert run("models", "fetch", "one").code == 0


def test_bars_on_a_terminal(known: Server, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with command._bars(quiet=False) as report:
        assert report is not None
        models.fetch("one", report)
    assert "one" in capsys.readouterr().err
    with command._bars(quiet=True) as report:
        assert report is None


def test_a_download_on_the_way_is_shown(known: Server, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Progress():
        models.locate("one")
    assert "one, MB" in capsys.readouterr().err
    with Progress(quiet=True):
        models.locate("two")
    assert "two, MB" not in capsys.readouterr().err and not models._reports


class TestOffline:
    @pytest.fixture
    def tracker(self, monkeypatch: pytest.MonkeyPatch) -> None:

        monkeypatch.setitem(registry._REGISTRY.builtin, "one", "tests.registry_rows:toy")

    @pytest.mark.usefixtures("tracker")
    def test_no_download_and_one_line(self, run: Any, known: Server, video: Path, tmp_path: Path) -> None:
        ran = run("track", video, "-o", tmp_path / "out", "--tracker", "one", "--offline", "--device", "cpu")
        assert ran.code == 1 and ran.err.count("\n") == 1 and "trackime-apps models fetch one" in ran.err
        assert not known.seen and "TRACKIME_OFFLINE" not in os.environ and not (tmp_path / "out").exists()

    def test_it_is_no_setting_of_a_result(
        self, run: Any, known: Server, video: Path, tmp_path: Path, tracked: Any
    ) -> None:
        assert run("track", video, "-o", tmp_path / "out", "--offline").code == 0
        assert "offline" not in (tmp_path / "out" / "config.toml").read_text()
        (tmp_path / "c.toml").write_text("offline = true\n")
        assert run("track", video, "-o", tmp_path / "b", "--config", tmp_path / "c.toml").code == 2


class TestDoctor:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trackime.trackers.names", lambda: ["one", "two"])
        monkeypatch.setattr("trackime.segmenters.names", lambda: [])
        monkeypatch.setattr(doctor, "_PACKAGES", {})

    def line(self, out: str, name: str) -> str:
        return next(line for line in out.splitlines() if f" {name} " in line)

    def test_absent_ones_are_not_tried(self, run: Any, known: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "_try_tracker", lambda *_: pytest.fail("tried"))
        ran = run("doctor")
        assert ran.code == 0 and not known.seen
        assert "missing" in self.line(ran.out, "one") and "trackime-apps models fetch one" in self.line(ran.out, "one")
        assert "0 of 2 in" in ran.out

    def test_those_here_are_loaded_offline(self, run: Any, known: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        models.fetch("one")

        def attempt(name: str, device: str) -> str:
            assert models._is_offline()
            models.locate(name)
            return "loaded in 0.10 s"

        monkeypatch.setattr(doctor, "_try_tracker", attempt)
        ran = run("doctor")
        assert ran.code == 0 and "loaded in 0.10 s" in self.line(ran.out, "one") and "1 of 2 in" in ran.out
        models._place("one").write_bytes(b"changed")
        ran = run("doctor")
        assert ran.code == 1 and "FAILED" in self.line(ran.out, "one") and "published" in self.line(ran.out, "one")

    def test_an_extra_may_be_missing(self, run: Any, known: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        models.fetch("one")

        def attempt(name: str, device: str) -> str:
            raise MissingExtraError(name, "models")

        monkeypatch.setattr(doctor, "_try_tracker", attempt)
        ran = run("doctor")
        assert ran.code == 0 and "pip install 'trackime[models]'" in self.line(ran.out, "one")

    def test_a_real_load(self, known: Server, monkeypatch: pytest.MonkeyPatch) -> None:

        monkeypatch.setitem(registry._REGISTRY.builtin, "one", "tests.registry_rows:toy")
        models.fetch("one")
        (finding,) = (f for f in doctor._registered("tracker", "cpu", doctor._try_tracker) if f.name == "one")
        assert finding.state == doctor._BAD and "one.pt: refused, nothing in it was run" in finding.detail
        assert torch.is_grad_enabled()


def test_the_documentation_has_the_registrys_table(run: Any) -> None:
    table = run("models", "list", "--markdown").out
    assert table in DOCS.read_text(encoding="utf-8"), "paste the output of: trackime-apps models list --markdown"
    for name, entry in CHECKPOINTS.items():
        option = "depth-model" if entry.kind == "depth" else entry.kind
        assert f"--{option} {name} " in table
