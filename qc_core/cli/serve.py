"""`qc serve`: a policy behind HTTP until it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from qc_core.errors import UsageError
from qc_core.runtime import ChunkPolicy
from qc_core.runtime.serve import PolicyServer


def serve(policy: str, host: str, port: int) -> None:
    """Serve a policy folder or a policy of the store; ends on SIGTERM and Ctrl-C."""
    name = Path(policy).resolve().name if os.path.exists(policy) else _name_of(policy)
    with ChunkPolicy.load(policy) as loaded:
        try:
            server = PolicyServer((host, port), loaded, name)
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
        with server:
            # A server is shut down from another thread than its own.
            stop = threading.Thread(target=server.shutdown)

            def end(*_: object) -> None:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                stop.start()

            signal.signal(signal.SIGTERM, end)
            print(
                f"serving {policy} at http://{host}:{server.server_port}{server.model}",
                file=sys.stderr,
                flush=True,
            )
            server.serve_forever()


def _name_of(policy: str) -> str:
    return policy.split("@")[0].split(":")[0]
