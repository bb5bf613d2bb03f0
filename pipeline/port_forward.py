"""Connects to a KFP server inside a cluster through `kubectl port-forward`."""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from qc_core.errors import RunError, UsageError

# Port of KFP's API in the Service `ml-pipeline`.
SERVICE_PORT = 8888
_READY = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")
# If the cluster does not answer, kubectl would try for minutes.
_START_TIMEOUT_SECONDS = 60.0
_END_TIMEOUT_SECONDS = 5.0


@contextmanager
def port_forward(
    namespace: str, start_timeout_seconds: float = _START_TIMEOUT_SECONDS
) -> Iterator[str]:
    """Yield the local URL of the KFP server in a namespace of the cluster.

    Raises:
        UsageError: kubectl is not installed.
        RunError: kubectl could not connect in time; the message has its reason.
    """
    command = ["kubectl", "port-forward", "--address", "127.0.0.1", "--namespace", namespace]
    command += ["service/ml-pipeline", f":{SERVICE_PORT}"]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # A session of its own: Ctrl-C must not end kubectl before this process has sent its
                # last requests.
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise UsageError(
                "a kubeconfig names the cluster, but kubectl is not installed: install it, or set "
                "KFP_ENDPOINT"
            ) from error
        assert process.stdout is not None
        timer = threading.Timer(start_timeout_seconds, process.terminate)
        timer.start()
        try:
            # kubectl prints the port that it chose, or ends.
            match = _READY.match(process.stdout.readline())
            timer.cancel()
            if match is None:
                process.wait()
                errors.seek(0)
                # The last line has the reason.
                lines = errors.read().strip().splitlines() or [
                    f"kubectl did not connect within {start_timeout_seconds:g} s"
                ]
                raise RunError(
                    f"no port-forward to the KFP server in namespace {namespace}: {lines[-1]}"
                )
            yield f"http://127.0.0.1:{match[1]}"
        finally:
            timer.cancel()
            process.terminate()
            try:
                process.wait(_END_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
