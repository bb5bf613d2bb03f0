"""Arguments of the commands that use a KFP server, and a check that it answers."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qc_core.cli.parser import Parser
from qc_core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.placement import Cluster, Taint

# Name of a Kubernetes object.
_OBJECT_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
# Name of a resource or key of a taint, after an optional domain.
_QUALIFIED = r"(?:[a-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_RESOURCE = re.compile(_QUALIFIED)
_TAINT = re.compile(
    rf"({_QUALIFIED})(?:=([A-Za-z0-9._-]*))?(?::(NoSchedule|PreferNoSchedule|NoExecute))?"
)
_GPU_TYPE = "nvidia.com/gpu"
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
        help="an input of the pipeline, such as resources_gpus=1; can be repeated",
    )
    parser.add_argument(
        "--upload",
        type=Path,
        metavar="PATH",
        help="put this file or folder into the store $QC_STORE, and train on it",
    )
    cluster_arguments(parser)


def with_upload(options: Namespace) -> list[str]:
    """Return the options of the configuration; upload the data of `--upload` and name them there.

    Raises:
        UsageError: the data have no known format, --data is given too, or QC_STORE is no bucket.
    """
    if options.upload is None:
        return options.overrides
    from qc_core.data.formats.locate import kind_of
    from qc_core.data.formats.remote import upload_source
    from qc_core.store.open import STORE_VARIABLE, open_store

    if any(argument.split("=")[0] in ("--data", "--data.source") for argument in options.overrides):
        raise UsageError("give either --data or --upload")
    if not os.environ.get(STORE_VARIABLE, "").startswith("s3://"):
        raise UsageError(f"--upload needs {STORE_VARIABLE}=s3://…, the store of the cluster")
    kind_of(str(options.upload))
    return [*options.overrides, "--data", upload_source(options.upload, open_store())]


def cluster_arguments(parser: Parser) -> None:
    """Add what the pipeline must know of the cluster when it is compiled."""
    for name, content in (
        ("store", "the store's accesskey and secretkey"),
        ("study", "the url of the tuning study's database"),
        ("webhook", "the url that the run status is posted to"),
        ("signing", "the key that signs policies, and its path"),
        ("data", "accesskey, secretkey, endpoint and region of the data in s3://"),
    ):
        default = f"q-chunking-{name}"
        parser.add_argument(
            f"--{name}-secret",
            default=default,
            metavar="NAME",
            help=f"Secret with {content} ({default})",
        )
    parser.add_argument(
        "--gpu-type",
        default=_GPU_TYPE,
        metavar="NAME",
        help=f"resource under which nodes offer their GPUs ({_GPU_TYPE})",
    )
    parser.add_argument(
        "--tolerate",
        action="append",
        default=[],
        metavar="TAINT",
        help="taint of the nodes to train on, KEY[=VALUE][:EFFECT]; can be repeated",
    )


def cluster_of(options: Namespace, claims: Sequence[str] = ()) -> Cluster:
    """Return what the pipeline must know of the cluster (UsageError: a value is invalid).

    Args:
        claims: names of the volume claims that its data are in.
    """
    from pipeline.placement import Cluster, Secrets

    if not _RESOURCE.fullmatch(options.gpu_type):
        raise UsageError(
            f"--gpu-type must be the name of a resource such as {_GPU_TYPE}, got "
            f"{options.gpu_type!r}"
        )
    names = {name: getattr(options, f"{name}_secret") for name in Secrets.__dataclass_fields__}
    for name, value in names.items():
        if not _OBJECT_NAME.fullmatch(value):
            raise UsageError(
                f"--{name}-secret must be the name of a Secret: lower-case letters, digits, "
                f"dashes and dots, got {value!r}"
            )
    tolerated = tuple(_taint(text) for text in options.tolerate)
    return Cluster(Secrets(**names), options.gpu_type, tolerated, tuple(claims))


def _taint(text: str) -> Taint:
    from pipeline.placement import Taint

    match = _TAINT.fullmatch(text)
    if match is None:
        raise UsageError(
            "--tolerate must be KEY[=VALUE][:EFFECT] with the effect NoSchedule, PreferNoSchedule "
            f"or NoExecute, such as nvidia.com/gpu:NoSchedule, got {text!r}"
        )
    return Taint(*(part or "" for part in match.groups()))


def check_server() -> None:
    """Connect to the KFP server of $KFP_ENDPOINT (QCError: it does not answer)."""
    from pipeline.server import connect

    with connect():
        pass
