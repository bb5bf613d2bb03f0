"""`qc serve`: serve a policy over HTTP."""

from __future__ import annotations

import os
import signal
import sys
import threading
from argparse import Namespace
from pathlib import Path

from qc_core.cli.parser import Parser
from qc_core.errors import UsageError


def arguments(parser: Parser) -> None:
    parser.add_argument("policy", help="a pulled folder, or NAME, NAME@ALIAS, NAME:VERSION")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="0 chooses a free port (8080)")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Serve a policy folder or a policy of the store until SIGTERM or Ctrl-C."""
    from qc_core.runtime import ChunkPolicy
    from qc_core.runtime.serve import PolicyServer

    policy, host, port = options.policy, options.host, options.port
    name = Path(policy).resolve().name if os.path.exists(policy) else _name_of(policy)
    with ChunkPolicy.load(policy) as loaded:
        try:
            server = PolicyServer((host, port), loaded, name)
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
        with server:
            # `shutdown` must be called from another thread than `serve_forever`.
            stop = threading.Thread(target=server.shutdown)

            def end(*_: object) -> None:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                stop.start()

            signal.signal(signal.SIGTERM, end)
            print(
                f"serving {policy} at http://{host}:{server.server_port}{server.model_path}",
                file=sys.stderr,
                flush=True,
            )
            server.serve_forever()


def _name_of(policy: str) -> str:
    return policy.split("@")[0].split(":")[0]
