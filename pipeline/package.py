"""The compiled pipeline as a package: the same for the same code, whoever compiles it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import yaml

from components.image import TRAIN_IMAGE
from pipeline.compile import DEFAULT_RECIPE, compile_pipeline
from pipeline.earlier_run import EarlierRun
from pipeline.form import DESCRIPTION
from pipeline.inputs import parse_inputs, recipe_inputs
from pipeline.placement import DEFAULT_CLUSTER, Cluster
from qc_core import __version__
from qc_core.config.resources import DEFAULT_CPUS
from qc_core.provenance import git_commit
from qc_core.scratch import scratch_folder

_DIGITS = 7
# PyYAML has its parser in C only where libyaml was found; the one in Python is 30 times slower.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        given: values for the inputs that a person has chosen, and those that follow from the
            recipe.
        content: YAML, the same for the same code and settings of the cluster: the specification,
            then the Kubernetes document if there is one.
    """

    given: dict[str, Any]
    content: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, hexadecimal."""
        return hashlib.sha256(self.content.encode()).hexdigest()

    @property
    def parameters(self) -> dict[str, Any]:
        """A value for every input, so that KFP shows and clones all of them."""
        defaults = {name: entry.get("defaultValue") for name, entry in self.inputs.items()}
        return {**defaults, **self.given}

    @property
    def summary(self) -> str:
        """Recipe, and the options and inputs that differ from it, in one line."""
        recipe = self.given["recipe"]
        own = recipe_inputs(recipe, (), self.given.get("resources_cpus", DEFAULT_CPUS))
        changed = {name: value for name, value in self.given.items() if value != own.get(name)}
        return "; ".join(
            f"{name.removeprefix('recipe_')} {value}"
            for name, value in {"recipe": recipe, **changed}.items()
            if value
        )

    @property
    def digits(self) -> str:
        """First digits of the digest, by which the names of versions can be searched."""
        return self.digest[:_DIGITS]

    @property
    def version_name(self) -> str:
        """Name of a version that is uploaded today: `0.2.0-2026-11-30-d52ec6f`."""
        return f"{__version__}-{time.strftime('%Y-%m-%d')}-{self.digits}"

    @property
    def identity(self) -> str:
        """What the package was made of, in one line; its digest identifies the content."""
        return f"q-chunking {__version__}, image {TRAIN_IMAGE}, sha256:{self.digest}"

    @property
    def description(self) -> str:
        """Description of a version on the server, which KFP shows as Markdown."""
        return f"{self.identity}, commit {git_commit()}\n\n{DESCRIPTION}"

    @cached_property
    def specification(self) -> dict[str, Any]:
        """The pipeline specification, without the Kubernetes document."""
        return next(yaml.load_all(self.content, _LOADER))

    @property
    def inputs(self) -> dict[str, Any]:
        """The definitions of the pipeline's inputs by name."""
        return self.specification["root"]["inputDefinitions"]["parameters"]

    @cached_property
    def steps(self) -> dict[str, str]:
        """Names of the steps by each name that KFP may show for their tasks."""
        components = self.specification["components"]
        graphs = [self.specification["root"], *components.values()]
        return {
            shown: name
            for graph in graphs
            for name, task in graph.get("dag", {}).get("tasks", {}).items()
            if "executorLabel" in components[task["componentRef"]["name"]]
            for shown in (name, task["taskInfo"]["name"])
        }


def compile_package(
    recipe: str,
    overrides: Sequence[str],
    *,
    inputs: Sequence[str] = (),
    earlier: EarlierRun | None = None,
    cluster: Cluster = DEFAULT_CLUSTER,
) -> Package:
    """Compile the pipeline for a server.

    Recipe and options are values for its inputs, not defaults: all runs of the same code share one
    pipeline version.

    Args:
        recipe, overrides: values of the inputs of these names.
        cluster: as `pipeline.compile.compile_pipeline` takes it.
        inputs: values for its other inputs, `NAME=VALUE`.
        earlier: a run whose inputs are taken where `inputs` has no value, and which is continued.

    Raises:
        UsageError: an input is unknown or its value invalid.
    """
    with scratch_folder("package") as folder:
        path = folder / "pipeline.yaml"
        compile_pipeline(DEFAULT_RECIPE, (), path, cluster)
        content = path.read_text(encoding="utf-8")
    package = Package(given={}, content=content)
    values = parse_inputs(inputs, package.inputs) if inputs else {}
    if earlier is not None:
        values = {**earlier.inputs_for(package.inputs), **values}
    own = recipe_inputs(recipe, overrides, values.get("resources_cpus", DEFAULT_CPUS))
    return replace(package, given={**own, **values})
