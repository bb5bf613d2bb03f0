"""Arguments of the commands that use a KFP server, and a check that it answers."""

from __future__ import annotations

from qc_core.cli.parser import Parser

_EXPERIMENT = "q-chunking"
_SERVICE_ACCOUNT = "q-chunking-runner"


def server_arguments(parser: Parser) -> None:
    """Add the options of every command that connects to a KFP server."""
    parser.add_argument("--endpoint", metavar="URL", help="KFP server (default: $KFP_ENDPOINT)")
    parser.add_argument(
        "--namespace", metavar="NS", help="namespace of the runs, if KFP serves several users"
    )


def run_arguments(parser: Parser) -> None:
    """Add the options of every command that lets a KFP server start runs."""
    parser.add_argument(
        "--experiment",
        default=_EXPERIMENT,
        metavar="NAME",
        help=f"KFP experiment of the run ({_EXPERIMENT})",
    )
    parser.add_argument(
        "--service-account",
        default=_SERVICE_ACCOUNT,
        metavar="NAME",
        help=f"Kubernetes service account of the pods ({_SERVICE_ACCOUNT})",
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an input of the pipeline, such as gpus=1; can be repeated",
    )


def check_server() -> None:
    """Connect to the KFP server of $KFP_ENDPOINT (QCError: it does not answer)."""
    from pipeline.server import connect

    with connect():
        pass
