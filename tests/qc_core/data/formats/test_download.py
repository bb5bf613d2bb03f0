"""Downloads are resumed and verified, and errors are one line."""

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from qc_core.data.formats.download import fetch, fetch_shards, official_name
from qc_core.errors import RunError, UsageError


def npz() -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, values=np.random.default_rng(0).normal(size=50_000))
    return content.getvalue()


class Server:
    """A real HTTP server on loopback that knows ranges.

    Attributes:
        paths: that there are.
        breaks: bytes after which the next answers break off; whole ones follow.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.breaks: list[int] = []
        self.ranges: list[str | None] = []
        self.paths = ["/data.npz"]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                outer.ranges.append(asked)
                if self.path not in outer.paths:
                    self.send_error(404)
                    return
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                body = outer.content[start:]
                if asked and not body:
                    self.send_error(416)
                    return
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: outer.breaks.pop(0) if outer.breaks else None])
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/data.npz"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(npz())
    thread = threading.Thread(target=server.server.serve_forever)
    thread.start()
    yield server
    server.server.shutdown()
    server.server.server_close()
    thread.join()


def test_a_file_is_downloaded_completely_and_only_once(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "data.npz"
    assert fetch(server.url, target).read_bytes() == server.content
    fetch(server.url, target)
    assert len(server.ranges) == 1


def test_an_interrupted_download_is_resumed(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "data.npz"
    server.breaks = [100_000, 0]
    with pytest.raises(RunError, match=r"cannot be fetched.*--data PATH"):
        fetch(server.url, target)
    assert not target.exists()
    fetch(server.url, target)
    assert target.read_bytes() == server.content
    assert server.ranges[-1] == "bytes=100000-"
    assert list(tmp_path.iterdir()) == [target]


def test_a_download_survives_repeated_interruptions(server: Server, tmp_path: Path) -> None:
    server.breaks = [100_000, 100_000, 100_000]
    assert fetch(server.url, tmp_path / "data.npz").read_bytes() == server.content
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]


def test_a_damaged_download_is_deleted(server: Server, tmp_path: Path) -> None:
    spoiled = bytearray(server.content)
    spoiled[1000] ^= 0xFF
    server.content = bytes(spoiled)
    with pytest.raises(RunError, match="arrived damaged"):
        fetch(server.url, tmp_path / "data.npz")
    assert list(tmp_path.iterdir()) == []


def test_http_errors_and_unreachable_servers_give_one_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"does not exist \(404\)") as refusal:
        fetch(server.url + "x", tmp_path / "data.npz")
    with pytest.raises(RunError, match="cannot be fetched") as absence:
        fetch("http://127.0.0.1:9/data.npz", tmp_path / "data.npz")
    for error in (refusal, absence):
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ("cube-single-singletask-task1-v0", "cube-single-play-v0"),
        ("puzzle-3x3-singletask-v0", "puzzle-3x3-play-v0"),
        ("antmaze-large-singletask-task2-v0", "antmaze-large-navigate-v0"),
        ("antsoccer-arena-singletask-v0", "antsoccer-arena-navigate-v0"),
    ],
)
def test_the_official_name_follows_from_the_environment(environment: str, name: str) -> None:
    assert official_name(environment) == official_name(environment, name) == name


@pytest.mark.parametrize(
    "name", ["cube-double-noisy-v0", "cube-double-play-100m-v0", "cube-double-play-1b-v0"]
)
def test_a_named_data_set_of_the_environment_is_accepted(name: str) -> None:
    assert official_name("cube-double-singletask-task2-v0", name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cube-triple-play-v0", "give --environment cube-triple-singletask-task1-v0"),
        ("visual-cube-double-play-v0", "is not of cube-double"),
        ("cube-double-v0", "it looks like cube-double-play-v0 or cube-double-play-100m-v0"),
        ("../cube-double-play-v0", "is no official dataset"),
        ("cube-double-play-v0/../x", "is no official dataset"),
    ],
)
def test_a_data_set_of_another_environment_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        official_name("cube-double-singletask-task2-v0", name)


def test_an_environment_without_official_data_is_refused() -> None:
    with pytest.raises(UsageError, match="has no official dataset"):
        official_name("Pendulum-v1")


def test_shards_are_downloaded_up_to_the_last_one(server: Server, tmp_path: Path) -> None:
    url = server.url.removesuffix("/data.npz")
    server.paths = [f"/big/cube-v0-00{i}{part}.npz" for i in range(2) for part in ("", "-val")]
    folder = fetch_shards(f"{url}/big", "cube-v0", tmp_path / "big")
    names = sorted(path.name for path in folder.glob("*.npz"))
    assert names == sorted(path.rpartition("/")[2] for path in server.paths)
    asked = len(server.ranges)
    assert fetch_shards(f"{url}/big", "cube-v0", tmp_path / "big") == folder
    assert len(server.ranges) == asked
    with pytest.raises(RunError, match=r"none-000\.npz does not exist \(404\)"):
        fetch_shards(f"{url}/big", "none", tmp_path / "none")


def test_interrupted_shards_are_not_marked_as_complete(server: Server, tmp_path: Path) -> None:
    url = server.url.removesuffix("/data.npz")
    server.paths = ["/cube-v0-000.npz", "/cube-v0-001.npz"]
    server.breaks = [len(server.content), 100_000, 0]
    with pytest.raises(RunError, match=r"cube-v0-001\.npz cannot be fetched"):
        fetch_shards(url, "cube-v0", tmp_path / "big")
    folder = fetch_shards(url, "cube-v0", tmp_path / "big")
    assert len(list(folder.glob("*.npz"))) == 2
