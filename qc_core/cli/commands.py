"""The commands of `qc`, and where each adds its arguments.

Modules are named as text and imported when their command runs, so that `qc --help` is fast. The
runtime image contains only `qc_core`; there, a command of `pipeline` reports what to install.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple


class Command(NamedTuple):
    """A command.

    Attributes:
        arguments: `module:function`; the function adds arguments to a parser, and sets the default
            `run` to the function that runs the command.
        extras: the smallest installation of the package that can run it.
        resumes: whether the same command resumes after an interruption.
    """

    arguments: str
    description: str
    extras: str = "train"
    resumes: bool = False


COMMANDS: dict[str, Command] = {
    "recipes": Command("qc_core.cli.recipes:arguments", "list the named configurations", "runtime"),
    "run": Command(
        "pipeline.cli.run:arguments",
        "run the complete pipeline on this machine",
        "train,pipeline",
        resumes=True,
    ),
    "describe": Command(
        "qc_core.cli.describe:arguments", "show the contents of a source of episodes"
    ),
    "ingest": Command("qc_core.cli.steps:ingest_arguments", "step: collect or convert a dataset"),
    "pretrain": Command(
        "qc_core.cli.steps:pretrain_arguments", "step: train offline", resumes=True
    ),
    "tune": Command(
        "qc_core.cli.steps:tune_arguments", "step: tune and fine-tune online", resumes=True
    ),
    "evaluate": Command("qc_core.cli.steps:evaluate_arguments", "step: compare the policies"),
    "export": Command("qc_core.cli.steps:export_arguments", "step: write the policy as ONNX"),
    "promote": Command("qc_core.cli.steps:promote_arguments", "step: publish the policy"),
    "sweep": Command(
        "qc_core.cli.sweep:arguments", "compare methods, tasks and seeds", resumes=True
    ),
    "tensorboard": Command(
        "qc_core.cli.tensorboard:arguments", "show the metrics of runs while they train"
    ),
    "runs": Command("pipeline.cli.runs:arguments", "list the runs here and in the store"),
    "compare": Command("pipeline.cli.compare:arguments", "write a page that compares runs"),
    "compile": Command(
        "pipeline.cli.compile:arguments", "write the package for the KFP UI", "pipeline"
    ),
    "submit": Command("pipeline.cli.submit:arguments", "start a run on a KFP server", "pipeline"),
    "release": Command(
        "pipeline.cli.release:arguments", "make this version the one that schedules run", "pipeline"
    ),
    "schedule": Command(
        "pipeline.cli.schedule:arguments", "manage recurring runs on a KFP server", "pipeline"
    ),
    "cluster": Command(
        "pipeline.cli.cluster:arguments",
        "inspect Kubeflow Pipelines, connect it to the store",
        "pipeline",
    ),
    "policies": Command(
        "qc_core.cli.policies:arguments", "list, show, delete published policies", "runtime"
    ),
    "rollback": Command(
        "qc_core.cli.policies:rollback_arguments",
        "point an alias at its previous version",
        "runtime",
    ),
    "pull": Command(
        "qc_core.cli.pull:arguments", "download a published policy and verify it", "runtime"
    ),
    "play": Command("qc_core.cli.play:arguments", "run a policy in its environment"),
    "coherence": Command("qc_core.cli.coherence:arguments", "compare how policies explore"),
    "episodes": Command("qc_core.cli.episodes:arguments", "upload episodes, list uploads"),
    "serve": Command("qc_core.cli.serve:arguments", "serve a policy over HTTP", "runtime"),
    "clean": Command(
        "qc_core.cli.clean:arguments", "remove what killed commands have left", "runtime"
    ),
    "completion": Command(
        "qc_core.cli.completion:arguments", "print a script for a shell's completion", "runtime"
    ),
    "info": Command(
        "qc_core.cli.info:arguments", "versions, devices, store and KFP server", "runtime"
    ),
}

# Raises an error if the KFP server does not answer, for `qc info`.
CHECK_SERVER = "pipeline.cli.server:check_server"


def load(reference: str) -> Callable[..., Any]:
    """Import the function that `module:function` names."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
