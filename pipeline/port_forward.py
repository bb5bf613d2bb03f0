"""Reach a KFP server inside a cluster with what kubectl knows about the cluster."""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from qc_core.errors import RunError, UsageError

# Of KFP's API behind the Service `ml-pipeline`.
SERVICE_PORT = 8888
_READY = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")
# Where a cluster does not answer, kubectl tries for minutes.
_SECONDS_TO_BEGIN = 60.0
_SECONDS_TO_END = 5.0


@contextmanager
def port_forward(namespace: str) -> Iterator[str]:
    """Give the address, on this machine, of the KFP server in a namespace of the cluster.

    Raises:
        UsageError: there is no kubectl.
        RunError: kubectl says that it cannot be done.
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
                # Ctrl-C is for us: the last words to the server still go through it.
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise UsageError(
                "a kubeconfig names the cluster, but kubectl is not installed: install it, or set "
                "KFP_ENDPOINT"
            ) from error
        assert process.stdout is not None
        limit = threading.Timer(_SECONDS_TO_BEGIN, process.terminate)
        limit.start()
        try:
            # kubectl names the port that it chose, or ends.
            match = _READY.match(process.stdout.readline())
            limit.cancel()
            if match is None:
                process.wait()
                errors.seek(0)
                # Its last line is the one for people.
                said = errors.read().strip().splitlines() or ["kubectl did not say why"]
                raise RunError(
                    f"no port-forward to the KFP server in namespace {namespace}: {said[-1]}"
                )
            yield f"http://127.0.0.1:{match[1]}"
        finally:
            limit.cancel()
            process.terminate()
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
