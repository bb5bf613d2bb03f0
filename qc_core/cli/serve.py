"""`qc serve`: serve a policy over HTTP."""

from __future__ import annotations

import os
import signal
import sys
import threading
from argparse import Namespace
from pathlib import Path

from qc_core.cli.arguments import POLICY, policy_folder
from qc_core.cli.parser import Parser
from qc_core.errors import UsageError


def arguments(parser: Parser) -> None:
    parser.add_argument("policy", help=POLICY)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="0 chooses a free port (8080)")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Serve a policy folder or a policy of the store until SIGTERM or Ctrl-C."""
    from qc_core.runtime import ChunkPolicy
    from qc_core.runtime.serve import PolicyServer

    policy, host, port = options.policy, options.host, options.port
    folder, name, version = _opened(policy)
    token = _token()
    with ChunkPolicy(folder) as loaded:
        try:
            server = PolicyServer((host, port), loaded, name, version, token)
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
        with server:
            # `shutdown` must be called from another thread than `serve_forever`.
            stop = threading.Thread(target=server.shutdown)

            def end(*_: object) -> None:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                stop.start()

            signal.signal(signal.SIGTERM, end)
            shown = f"{name}:{version}" if folder != Path(policy) else policy
            print(
                f"serving {shown} at http://{host}:{server.server_port}{server.model_path}",
                file=sys.stderr,
                flush=True,
            )
            server.serve_forever()


def _opened(policy: str) -> tuple[Path, str, str]:
    """Return folder, name and version of a policy; a folder has version 1."""
    from qc_core.runtime.protocol import VERSION

    folder = policy_folder(policy)
    if folder == Path(policy):
        return folder, folder.resolve().name, VERSION
    return folder, folder.parent.name, folder.name


def _token() -> str | None:
    """Return the bearer token in `QC_SERVE_TOKEN`, None without one (UsageError: not usable)."""
    token = os.environ.get("QC_SERVE_TOKEN")
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError("QC_SERVE_TOKEN must be printable ASCII characters without spaces")
    return token or None
