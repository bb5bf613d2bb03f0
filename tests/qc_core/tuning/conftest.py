"""A real PostgreSQL of the tests' own, and training in a quick environment."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.quick_fixtures import checkpoint, config, dataset, spec

__all__ = ["checkpoint", "config", "dataset", "spec"]

PASSWORD = "very-secret"


class PostgreSQL:
    """A server on loopback with data of its own; it ends with this process."""

    def __init__(self, programs: Path, folder: Path, user: str) -> None:
        self._programs, self._data = programs, folder / "data"
        # The server refuses to be run by root.
        self._as_user = ["setpriv", "--pdeathsig", "INT"]
        if os.getuid() == 0:
            self._as_user += ["--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid)]
            self._as_user += ["--clear-groups"]
            shutil.chown(folder, user)
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._options = [
            "--listen_addresses=127.0.0.1",
            f"--port={self._port}",
            f"--unix_socket_directories={folder}",
            "--fsync=off",
        ]
        subprocess.run(
            [
                *(*self._as_user, programs / "initdb", "-D", self._data, "-U", "optuna"),
                *("--auth", "scram-sha-256", "--pwfile", folder / "password", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd=folder,
        )

    def url(self, password: str = PASSWORD) -> str:
        return f"postgresql+psycopg://optuna:{password}@127.0.0.1:{self._port}/postgres"

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self._port,
            user="optuna",
            password=PASSWORD,
            dbname="postgres",
            autocommit=True,
        )

    def start(self) -> None:
        self._server = subprocess.Popen(
            [*self._as_user, self._programs / "postgres", "-D", self._data, *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._data.parent,
        )
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                assert self._server.poll() is None
                time.sleep(0.05)

    def stop(self) -> None:
        # A fast shutdown: connections are cut.
        self._server.send_signal(signal.SIGINT)
        self._server.wait()

    def age_heartbeats(self) -> None:
        """Let it be an hour since any worker showed that it lives."""
        with self.connect() as connection:
            connection.execute(
                "UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '1 hour'"
            )


@pytest.fixture(scope="session")
def server() -> Iterator[PostgreSQL]:
    """The server, started."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve())
    if not found:
        # pip cannot bring it, so a person may do without; where the tests decide, it must be there.
        lacking = pytest.fail if os.environ.get("CI") else pytest.skip
        lacking("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    # Not below pytest's own folders, which only root may enter.
    with tempfile.TemporaryDirectory(prefix="qc-postgresql-") as folder:
        server = PostgreSQL(found[-1].parent, Path(folder), "nobody")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def database(server: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> PostgreSQL:
    """The server, named by `QC_STUDY_STORAGE`."""
    monkeypatch.setenv("QC_STUDY_STORAGE", server.url())
    return server
