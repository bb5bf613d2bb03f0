"""The guard refuses network connections and records the attempts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.environment import ATTEMPTS_VARIABLE, GUARD

# An address that is reserved for documentation: nothing answers there.
_ADDRESS = "192.0.2.1"


def _python(code: str, attempts: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(GUARD), ATTEMPTS_VARIABLE: str(attempts)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "code",
    [
        f"import socket; socket.create_connection(('{_ADDRESS}', 80), 1)",
        f"import socket; socket.socket().connect(('{_ADDRESS}', 80))",
        f"import socket; socket.socket().connect_ex(('{_ADDRESS}', 80))",
        f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('{_ADDRESS}', 80))",
        f"import urllib.request; urllib.request.urlopen('http://{_ADDRESS}/', timeout=1)",
        "import socket; socket.getaddrinfo('host.invalid', 80)",
        "import socket; socket.gethostbyname('host.invalid')",
        f"import multiprocessing as m, socket; p = m.get_context('spawn').Pool(1); "
        f"p.apply(socket.create_connection, (('{_ADDRESS}', 80), 1))",
    ],
)
def test_connections_are_refused_and_recorded(code: str, tmp_path: Path) -> None:
    attempts = tmp_path / "attempts.txt"
    done = _python(f"if __name__ == '__main__':\n {code}", attempts)
    assert done.returncode != 0
    assert "network access is refused here" in done.stderr
    assert attempts.read_text().strip()


def test_local_connections_are_allowed(tmp_path: Path) -> None:
    attempts = tmp_path / "attempts.txt"
    code = (
        "import socket; server = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(server.getsockname()).close(); "
        "a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'"
    )
    done = _python(code, attempts)
    assert done.returncode == 0, done.stderr
    assert not attempts.exists()
