"""A local HTTP server that behaves as badly as a test asks for, and what other processes do meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from trackime.checkpoints import Checkpoint
from trackime.checkpoints import store as models
from trackime.checkpoints._download import download, locked
from trackime.checkpoints.catalog import _APACHE, RemoteFile

BODY = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()


class Request(BaseHTTPRequestHandler):
    """What an answer is made from; `Server.answers` are functions of it."""

    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.seen.append(self.path)
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in {"Content_Type": "application/octet-stream", "Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


Answer = Callable[[Request], None]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answers: list[Answer] = [serve()]
        self.seen: list[str] = []
        self.released = threading.Event()

    def handle_error(self, *_: object) -> None:
        pass  # clients that hang up are part of the tests

    def url(self, path: str = "model.pt") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


@contextmanager
def running() -> Iterator[Server]:
    server = Server()
    proxy = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "*"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        if proxy is None:
            del os.environ["no_proxy"]
        else:
            os.environ["no_proxy"] = proxy
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def serve(
    body: bytes = BODY,
    *,
    cut: int | None = None,
    stall: int | None = None,
    kind: str = "application/octet-stream",
    length: bool = True,
) -> Answer:
    """A file.

    Args:
        body: what is in it.
        cut: hang up after so many bytes.
        stall: fall silent after so many bytes.
        kind: its Content-Type.
        length: say how long it is.
    """

    def answer(request: Request) -> None:
        request.head(200, len(body) if length else None, Content_Type=kind)
        sent = min((n for n in (cut, stall) if n is not None), default=len(body))
        request.wfile.write(body[:sent])
        request.wfile.flush()
        if stall is not None:
            request.server.released.wait(5)

    return answer


def status(code: int) -> Answer:
    return lambda request: request.head(code, 0)


def redirect(to: str) -> Answer:
    return lambda request: request.head(302, 0, Location=to)


def slow(body: bytes = BODY, pieces: int = 20, pause: float = 0.02) -> Answer:
    """A file that comes in pieces."""

    def answer(request: Request) -> None:
        request.head(200, len(body))
        step = -(-len(body) // pieces)
        for i in range(0, len(body), step):
            request.wfile.write(body[i : i + step])
            request.wfile.flush()
            time.sleep(pause)

    return answer


def started(work: Callable[..., None], *args: Any) -> BaseProcess:
    """Another process that does `work`; not forked: servers run threads."""
    process = get_context("spawn").Process(target=work, args=args)
    process.start()
    return process


def hold(lock: Path, held: Path) -> None:
    """Take a lock, say so by making `held`, and release it when that is gone."""
    with locked(lock, "waiting", poll=0.01):
        held.touch()
        while held.exists():
            time.sleep(0.01)


def fetch_file(url: str, target: Path) -> None:
    download(url, target)


def fetch_model(url: str, home: Path, sha256: str) -> None:
    os.environ["TRACKIME_HOME"] = str(home)
    files = (RemoteFile(url, "one.pt", sha256=sha256),)
    models.CHECKPOINTS["one"] = Checkpoint("one", "tracker", "One", files, _APACHE, "https://a", "https://b", "256x256")
    models.fetch("one")
