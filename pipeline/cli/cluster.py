"""`qc cluster`: connect Kubeflow Pipelines to the store, and undo that."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING

from qc_core.cli.parser import Parser

if TYPE_CHECKING:
    from pipeline.cluster.kubectl import Kubectl

_CONNECT_HELP = """connect Kubeflow Pipelines to the store of the ConfigMap q-chunking

It shows each setting of KFP that it changes, and changes nothing else. Repeat it after an update of
KFP. `qc cluster disconnect` restores the former values, which are in the Secret
q-chunking-kfp-before."""

_ACCOUNT = "q-chunking-runner"


def arguments(parser: Parser) -> None:
    connecting = parser.add_subcommand("connect", "connect KFP to the store", connect)
    connecting.description = _CONNECT_HELP
    connecting.add_argument("--dry-run", action="store_true", help="only show what would change")
    connecting.add_argument(
        "--default-account",
        nargs="?",
        const=_ACCOUNT,
        metavar="NAME",
        help=(
            "also set the service account of runs that name none, such as those from KFP's form, "
            f"for every pipeline of this KFP ({_ACCOUNT})"
        ),
    )
    disconnecting = parser.add_subcommand("disconnect", "restore KFP's former settings", disconnect)
    for subcommand in (connecting, disconnecting):
        subcommand.add_argument(
            "--now",
            action="store_true",
            help="although runs are active, which Argo then starts again from their first step",
        )
        subcommand.add_argument(
            "--namespace", metavar="NS", help="namespace of KFP (default: $KFP_NAMESPACE, kubeflow)"
        )


def connect(options: Namespace) -> None:
    """Show the changes, make them, and check them."""
    from pipeline.cluster.connect import Connection

    kubectl = _kubectl(options)
    connection = Connection(kubectl, options.default_account)
    for note in connection.notes:
        print(f"note: {note}")
    for change in connection.changes:
        print(change.describe())
    if options.dry_run:
        print(f"{len(connection.changes)} settings would change")
        return
    connection.apply(now=options.now)
    print(
        f"KFP is connected to the store: {len(connection.changes)} settings changed; "
        "qc cluster disconnect restores them"
        if connection.changes
        else "KFP is connected to the store: nothing to change"
    )


def disconnect(options: Namespace) -> None:
    """Restore the values before the first `connect`."""
    from pipeline.cluster.connect import undo

    restored, foreign = undo(_kubectl(options), now=options.now)
    for change in restored:
        print(change.describe())
    for field in foreign:
        print(f"{field.reference} {field.key}: was changed since, and stays as it is")
    print(f"KFP has its former settings: {len(restored)} restored")


def _kubectl(options: Namespace) -> Kubectl:
    """Return kubectl for the namespace of KFP, and show which cluster it uses."""
    from pipeline.cluster.kubectl import Kubectl

    namespace = options.namespace or os.environ.get("KFP_NAMESPACE") or "kubeflow"
    kubectl = Kubectl(namespace)
    print(f"cluster {kubectl.context()}, namespace {namespace}")
    return kubectl
