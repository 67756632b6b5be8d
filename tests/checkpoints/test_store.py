"""Checkpoints by name: fetched once, checked ever after, never without leave."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from torch import nn

from tests.registry_rows import SHA, row
from tests.server import BODY, fetch_model, redirect, running, serve, slow, started, status
from trackime.checkpoints import CHECKPOINTS
from trackime.checkpoints import store as models
from trackime.checkpoints._download import Patience
from trackime.checkpoints.catalog import _NON_COMMERCIAL, RemoteFile
from trackime.errors import DownloadError, FormatError, InputError, OutputError, UnknownNameError
from trackime.registry import Registry

FAST = Patience(attempts=2, wait=0.001, stall=0.3)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIME_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRACKIME_OFFLINE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def server():
    with running() as server:
        yield server


@pytest.fixture
def known(server, monkeypatch):
    """Rows of a registry that the local server serves."""
    one = RemoteFile(server.url("one.pt"), "one.pt", len(BODY), SHA)
    rows = (
        row("one", one),
        row("alias", one, shares="one"),
        row("trusted", RemoteFile(server.url("trusted.pt"), "trusted.pt"), licence=_NON_COMMERCIAL),
        row("folder", RemoteFile(server.url("config.json"), "config.json"),
            RemoteFile(server.url("model.safetensors"), "model.safetensors", len(BODY), SHA)),
        row("packed", RemoteFile(server.url("packed.tar.gz"), "packed.pth", member="reference/model-*.pth")),
    )  # fmt: skip
    monkeypatch.setattr(models, "CHECKPOINTS", {r.name: r for r in rows})
    return server


# ---- the registry


@pytest.mark.parametrize("row", CHECKPOINTS.values(), ids=lambda row: row.name)
def test_rows_are_complete(row):
    assert row.kind in ("tracker", "segmenter", "depth") and row.files and row.title and row.licence
    for page in (row.source, row.paper, *([row.tapvid_source] if row.tapvid else [])):
        assert page.startswith("https://")
    for file in row.files:
        assert urlsplit(file.url).scheme == "https" and Path(file.name).name == file.name
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.size is None or file.size > 1000
    assert len({file.name for file in row.files}) == len(row.files)
    assert row.parameters is None or 1e6 < row.parameters < 1e9
    assert all(0 < value < 100 for _, value in row.tapvid)
    if row.shares:
        assert row.files == CHECKPOINTS[row.shares].files and not CHECKPOINTS[row.shares].shares


def test_sizes_agree_with_parameters():
    """A file of float32 holds four bytes a parameter; a few buffers and the file's own index come on top."""
    for entry in CHECKPOINTS.values():
        if entry.size and entry.parameters:
            assert 0.95 < entry.size / (4 * entry.parameters) < 1.05, entry.name


def test_non_commercial_ones_are_known_as_such():
    depth = {f"depth-anything-v2-{size}" for size in ("base", "large")}
    trackers = {"cotracker3", "cotracker3-online"}
    assert {row.name for row in CHECKPOINTS.values() if not row.commercial} == trackers | depth


def test_files_do_not_share_a_place():
    places = [models._place(row.name) for row in CHECKPOINTS.values() if not row.shares]
    assert len(set(places)) == len(places)
    assert models._place("tapnet") == models._place("tapir")


# ---- where


def test_home(monkeypatch, tmp_path):
    assert models.home() == tmp_path / "home"
    monkeypatch.delenv("TRACKIME_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert models.home() == tmp_path / "cache" / "trackime"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models.home() == tmp_path / ".cache" / "trackime"
    monkeypatch.setenv("TRACKIME_HOME", "~/own")
    assert models.home() == tmp_path / "own"


@pytest.mark.parametrize(("value", "means"), [("", False), ("0", False), ("no", False), ("1", True), ("Yes", True)])
def test_offline_by_environment(monkeypatch, value, means):
    monkeypatch.setenv("TRACKIME_OFFLINE", value)
    assert models._is_offline() is means
    with models.offline():
        assert models._is_offline()
    assert models._is_offline() is means and os.environ["TRACKIME_OFFLINE"] == value


def test_offline_for_a_while():
    with models.offline():
        assert models._is_offline()
    assert not models._is_offline() and "TRACKIME_OFFLINE" not in os.environ


# ---- locating


def test_fetched_when_first_asked_for_and_kept(known, home):
    told = []
    path = models.locate("one", progress=lambda *state: told.append(state))
    assert path == home / "models" / "one" / "one.pt" and path.read_bytes() == BODY
    assert told[-1] == ("one", len(BODY), len(BODY))
    assert models.locate("one") == path and models.locate("alias") == path and len(known.seen) == 1
    assert models.state("one") == models.state("alias") == models.VERIFIED


def test_offline_and_not_here_is_one_line_that_helps(known, home):
    with models.offline(), pytest.raises(DownloadError) as caught:
        models.locate("one")
    message = str(caught.value)
    assert "trackime-apps models fetch one" in message and known.url("one.pt") in message
    assert str(home / "models" / "one" / "one.pt") in message and "--offline" in message and "\n" not in message
    with pytest.raises(DownloadError, match=r"config.json as .*, .*model.safetensors as "):
        models.locate("folder", offline=True)
    with pytest.raises(DownloadError, match=re.escape("put reference/model-*.pth out of")):
        models.locate("packed", offline=True)
    assert not known.seen and not home.exists()


def test_offline_and_here_is_fine(known):
    path = models.locate("one")
    with models.offline():
        assert models.locate("one") == path
    assert models.locate("one", offline=True) == path


def test_offline_false_overrules_the_environment(known, monkeypatch):
    monkeypatch.setenv("TRACKIME_OFFLINE", "1")
    assert models.locate("one", offline=False).is_file()


def test_a_file_put_there_by_hand(known, home):
    place = models._place("one")
    place.parent.mkdir(parents=True)
    place.write_bytes(BODY)
    assert models.state("one") == models.UNCHECKED
    assert models.locate("one", offline=True) == place and models.state("one") == models.VERIFIED
    place.write_bytes(b"another")
    with pytest.raises(FormatError, match=f"not the file that was published: expected sha256 {SHA}"):
        models.locate("one", offline=True)


def test_trust_on_first_use(known):
    path = models.locate("trusted")
    assert models.state("trusted") == models.FETCHED and models.verify("trusted") == models.FETCHED
    os.utime(path, (1, 1))  # copied elsewhere and back: the digest tells that it is the same
    assert models.state("trusted") == models.UNCHECKED
    assert models.locate("trusted") == path and models.state("trusted") == models.FETCHED
    path.write_bytes(BODY[:-1] + b"!")
    with pytest.raises(FormatError, match=r"first seen.*models fetch trusted") as caught:
        models.locate("trusted")
    assert "\n" not in str(caught.value)


def test_a_change_that_keeps_size_and_time_is_found_by_verify(known):
    path = models.locate("trusted")
    before = path.stat()
    path.write_bytes(bytes(len(BODY)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert models.locate("trusted") == path  # the cheap check
    with pytest.raises(FormatError):
        models.verify("trusted")


def test_a_spoilt_record_is_no_obstacle(known):
    path = models.locate("one")
    for text in ("", "[]", '{"sha256": 3}', "\x00"):
        (path.parent / "one.pt.record.json").write_text(text)
        assert models.locate("one") == path
    assert models.state("one") == models.VERIFIED


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_is_read_only(known):
    path = models.locate("one")
    (path.parent / "one.pt.record.json").unlink()
    path.parent.chmod(0o500)
    assert models.locate("one") == path
    path.parent.chmod(0o700)


def test_an_own_path_wins(known, tmp_path):
    own = tmp_path / "own.pt"
    own.write_bytes(b"x")
    assert models.locate("one", own) == own and models.locate("never-heard-of", own) == own
    folder = tmp_path / "own"
    folder.mkdir()
    assert models.locate("folder", folder) == folder
    assert not known.seen


def test_an_own_path_that_is_not_there(known, tmp_path):
    for path, found in ((tmp_path / "none.pt", "no"), (tmp_path, "a folder")):
        with pytest.raises(InputError, match=f"one: expected a weights file, found {found} "):
            models.locate("one", path)
    with pytest.raises(InputError, match="expected a folder of a configuration and weights, found no"):
        models.locate("folder", tmp_path / "none")


def test_unknown_names():
    with pytest.raises(InputError, match="write never-heard-of:PATH"):
        models.locate("never-heard-of")
    for work in (models.fetch, models._place, models.state, models.verify, models.find):
        with pytest.raises(UnknownNameError, match="unknown checkpoint"):
            work("never-heard-of")


# ---- fetching


def test_a_licence_is_warned_of_once(known, caplog):
    models.fetch("trusted")
    warned = [r.message for r in caplog.records]
    assert warned == [
        "fetching trusted from https://example.org",
        "trusted: its licence is CC-BY-NC-4.0: not for commercial use",
    ]
    models.fetch("trusted")
    assert len(caplog.records) == 2
    models.fetch("one", progress=lambda *_: None)
    assert len(caplog.records) == 2  # there is a bar to look at, and nothing to warn of


def test_a_folder_of_files(known, home):
    known.answers = [serve(b"{}"), serve(cut=500), status(404)]
    with pytest.raises(DownloadError):
        models.fetch("folder", patience=FAST)
    assert models.state("folder") == models.PARTIAL
    known.answers = [serve()]
    assert models.fetch("folder") == home / "models" / "folder"
    assert known.seen == ["/config.json", *["/model.safetensors"] * 3]  # the missing one only
    assert models.state("folder") == models.FETCHED  # nobody published the configuration's digest
    assert models.locate("folder", offline=True) == home / "models" / "folder"


def packed(**members: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("reference/model-999.pth")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    return out.getvalue()


def test_a_file_out_of_an_archive(known, home):
    members = {"../evil.pth": b"e", "reference/model-1.pth": b"old", "reference/model-2.pth": BODY, "readme": b"r"}
    known.answers = [serve(packed(**members))]
    path = models.locate("packed")
    assert path == home / "models" / "packed" / "packed.pth" and path.read_bytes() == BODY
    assert sorted(p.name for p in path.parent.iterdir()) == [".lock", "packed.pth", "packed.pth.record.json"]
    assert models.verify("packed") == models.FETCHED
    assert json.loads((path.parent / "packed.pth.record.json").read_text())["sha256"] == SHA


def test_leftovers_of_killed_downloads_are_removed(known, home):
    folder = home / "models" / "one"
    folder.mkdir(parents=True)
    (folder / ".one.0123abcd.part.pt").write_bytes(b"x")
    models.fetch("one")
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "one.pt", "one.pt.record.json"]


@pytest.mark.parametrize("body", [b"no archive", packed(other=b"x")[:-9], packed(other=b"x")])
def test_an_archive_without_the_file(known, home, body):
    known.answers = [serve(body)]
    with pytest.raises(DownloadError, match="expected") as caught:
        models.fetch("packed", patience=FAST)
    assert "\n" not in str(caught.value) and models.state("packed") == models.ABSENT


def test_a_damaged_archive(known, home):
    body = bytearray(packed(**{"reference/model-1.pth": BODY}))
    body[len(body) // 2] ^= 0xFF
    known.answers = [serve(bytes(body))]
    with pytest.raises(DownloadError, match="expected a tar archive"):
        models.fetch("packed", patience=FAST)
    assert models.state("packed") == models.ABSENT
    assert [p.name for p in (home / "models" / "packed").iterdir()] == [".lock"]


def test_a_home_that_is_no_folder(known, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRACKIME_HOME", str(tmp_path / "file"))
    assert models.state("one") == models.ABSENT
    with pytest.raises(OutputError, match="cannot write"):
        models.fetch("one")


def test_redirects_and_errors_reach_the_user(known):
    known.answers = [redirect(known.url("b")), serve()]
    assert models.fetch("one").is_file()
    known.answers = [status(404)]
    with pytest.raises(DownloadError, match="answers 404"):
        models.fetch("trusted")


def test_two_processes_fetch_it_once(server, home):
    server.answers = [slow()]
    both = [started(fetch_model, server.url("one.pt"), home, SHA) for _ in range(2)]
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(server.seen) == 1 and (home / "models" / "one" / "one.pt").read_bytes() == BODY


# ---- a bad file of one's own, through the registry of trackers


@pytest.fixture
def registry():
    return Registry("tracker", "trackime.no.such.group", {"one": "tests.registry_rows:toy"})


def test_an_own_checkpoint_by_path(registry, tmp_path):
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "own.pt")
    assert isinstance(registry.create(f"one:{tmp_path / 'own.pt'}", device="cpu"), nn.Linear)


@pytest.mark.parametrize(("make", "error", "said"), [
    (lambda path: None, InputError, "one: expected a weights file, found no"),
    (lambda path: path.mkdir(), InputError, "found a folder"),
    (lambda path: path.write_bytes(b"<html>"), FormatError, "own.pt: "),
    (lambda path: torch.save(nn.Linear(4, 2).state_dict(), path), FormatError, "of one do not fit: 1 of another"),
    (lambda path: torch.save({"a": torch.ones(1)}, path), FormatError, "2 missing (weight, bias); 1 not expected (a)"),
])  # fmt: skip
def test_bad_ones_are_one_line(registry, tmp_path, make, error, said):
    make(tmp_path / "own.pt")
    with pytest.raises(error, match=re.escape(said)) as caught:
        registry.create(f"one:{tmp_path / 'own.pt'}")
    assert "\n" not in str(caught.value)
