"""`qc info`: versions, devices, and whether the services answer."""

from __future__ import annotations

import os
import platform
from argparse import Namespace
from typing import Any

from qc_core import __version__
from qc_core.cli.arguments import json_argument
from qc_core.cli.commands import CHECK_SERVER, load
from qc_core.cli.output import print_json, print_table
from qc_core.cli.parser import Parser
from qc_core.errors import QCError
from qc_core.provenance import git_commit, versions


def arguments(parser: Parser) -> None:
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print versions, devices, and whether the store and the KFP server answer."""
    content: dict[str, Any] = {
        "q-chunking": __version__,
        "git-commit": git_commit(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "devices": _devices(),
        "training-precision": _precision(),
        **versions(),
        "store": _store(),
        "kfp-server": _server(),
    }
    if options.json:
        print_json(content)
    else:
        print_table(("property", "value"), [(key, str(value)) for key, value in content.items()])


def _devices() -> str:
    try:
        import torch
    except ModuleNotFoundError:
        return "torch is not installed"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join([*names, "cpu"])


def _precision() -> str:
    try:
        from qc_core.networks.kernels import choose
        from qc_core.training.device import training_device

        return choose(training_device(), "auto").name
    except ModuleNotFoundError:
        return "torch is not installed"
    except QCError as error:
        return str(error)


def _store() -> str:
    from qc_core.store.open import open_store

    try:
        store = open_store()
        store.check()
    except QCError as error:
        return f"does not answer: {error}"
    return f"{store.describe()} answers"


def _server() -> str:
    endpoint = os.environ.get("KFP_ENDPOINT")
    if not endpoint:
        return "KFP_ENDPOINT is not set"
    try:
        load(CHECK_SERVER)()
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except QCError as error:
        return f"does not answer: {error}"
    return f"{endpoint} answers"
