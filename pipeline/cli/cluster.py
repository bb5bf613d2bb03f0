"""`qc cluster`: inspect Kubeflow Pipelines, connect it to the store, and undo that."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from itertools import chain
from typing import TYPE_CHECKING, TextIO

from pipeline.cli.server import cluster_arguments, cluster_of
from qc_core.cli.arguments import json_argument
from qc_core.cli.output import print_json
from qc_core.cli.parser import Parser

if TYPE_CHECKING:
    from pipeline.cluster.kubectl import Kubectl

_CONNECT_HELP = """connect Kubeflow Pipelines to the store of the ConfigMap q-chunking

It shows each setting of KFP that it changes, and changes nothing else. Repeat it after an update of
KFP. `qc cluster disconnect` restores the former values, which are in the Secret
q-chunking-kfp-before."""

_ACCOUNT = "q-chunking-runner"


_CHECK_HELP = """inspect Kubeflow Pipelines line by line, and print what corrects it

It changes nothing. The exit code is 1 if something is wrong."""


def arguments(parser: Parser) -> None:
    _check_arguments(parser.add_subcommand("check", "inspect KFP, and print what is wrong", check))
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
        json_argument(subcommand)
        _namespace_argument(subcommand)


def _check_arguments(parser: Parser) -> None:
    parser.description = _CHECK_HELP
    parser.add_argument(
        "recipe", nargs="?", default="smoke", help="recipe that needs room on the nodes (smoke)"
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an input of that run, such as resources_gpus=1; can be repeated",
    )
    parser.add_argument(
        "--run",
        action="store_true",
        dest="try_pods",
        help=(
            "also start a pod that tries store, study and KFP, and with resources_gpus=1 another "
            "with a GPU"
        ),
    )
    cluster_arguments(parser)
    json_argument(parser)
    _namespace_argument(parser)


def _namespace_argument(parser: Parser) -> None:
    parser.add_argument(
        "--namespace", metavar="NS", help="namespace of KFP (default: $KFP_NAMESPACE, kubeflow)"
    )


def check(options: Namespace) -> int:
    """Print the findings, each with what corrects it; return 1 if one is wrong."""
    from components.image import TRAIN_IMAGE
    from pipeline.cluster.check import WRONG, Need, check_cluster
    from pipeline.cluster.trial_pods import try_pods
    from pipeline.package import compile_package
    from qc_core.config.resolve import resolve

    config = resolve(options.recipe)
    cluster = cluster_of(options)
    inputs = compile_package(options.recipe, [], inputs=options.input).parameters
    need = Need(
        name=options.recipe,
        workers=min(config.tune.workers, config.tune.trials) or 1,
        requests={
            "cpu": inputs["resources_cpus"],
            "memory": inputs["resources_memory"],
            cluster.gpu_type: inputs["resources_gpus"],
        },
        gpu_type=cluster.gpu_type,
        secrets=cluster.secrets,
        selector=inputs["resources_node_selector"],
        tolerations=[taint.toleration for taint in cluster.tolerated],
    )
    kubectl = _kubectl(options, sys.stderr)
    findings = []
    found = check_cluster(kubectl, need)
    if options.try_pods:
        found = chain(found, try_pods(kubectl, need, TRAIN_IMAGE))
    for finding in found:
        findings.append(finding)
        if not options.json:
            print(f"{finding.state:<6} {finding.topic:<12} {finding.text}", flush=True)
            if finding.fix:
                print(f"{'':<19} fix: {finding.fix}", flush=True)
    if options.json:
        print_json([finding._asdict() for finding in findings])
    return int(any(finding.state == WRONG for finding in findings))


def connect(options: Namespace) -> None:
    """Show the changes, make them, and check them."""
    from pipeline.cluster.connect import Connection

    kubectl = _kubectl(options, sys.stderr if options.json else None)
    connection = Connection(kubectl, options.default_account)
    changes = [change.describe() for change in connection.changes]
    if not options.json:
        for line in (*(f"note: {note}" for note in connection.notes), *changes):
            print(line)
    if not options.dry_run:
        connection.apply(now=options.now)
    if options.json:
        notes = list(connection.notes)
        print_json({"notes": notes, "changes": changes, "applied": not options.dry_run})
    elif options.dry_run:
        print(f"{len(changes)} settings would change")
    elif changes:
        print(
            f"KFP is connected to the store: {len(changes)} settings changed; "
            "qc cluster disconnect restores them"
        )
    else:
        print("KFP is connected to the store: nothing to change")


def disconnect(options: Namespace) -> None:
    """Restore the values before the first `connect`."""
    from pipeline.cluster.connect import undo

    kubectl = _kubectl(options, sys.stderr if options.json else None)
    restored, foreign = undo(kubectl, now=options.now)
    if options.json:
        kept = [f"{field.reference} {field.key}" for field in foreign]
        print_json({"restored": [change.describe() for change in restored], "kept": kept})
        return
    for change in restored:
        print(change.describe())
    for field in foreign:
        print(f"{field.reference} {field.key}: was changed since, and stays as it is")
    print(f"KFP has its former settings: {len(restored)} restored")


def _kubectl(options: Namespace, stream: TextIO | None = None) -> Kubectl:
    """Return kubectl for the namespace of KFP, and show which cluster it uses."""
    from pipeline.cluster.kubectl import Kubectl

    namespace = options.namespace or os.environ.get("KFP_NAMESPACE") or "kubeflow"
    kubectl = Kubectl(namespace)
    print(f"cluster {kubectl.context()}, namespace {namespace}", file=stream)
    return kubectl
