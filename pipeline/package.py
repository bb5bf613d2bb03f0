"""The compiled pipeline as a package, and its upload to a KFP server as a pipeline version.

The name of a version contains the digest of its content: the same code gives the same version,
whoever compiles it, and a changed package gives a new one.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import kfp_server_api
import yaml

from pipeline.compile import compile_pipeline
from pipeline.definition import PIPELINE_NAME
from pipeline.earlier_run import EarlierRun
from pipeline.inputs import parse_inputs, recipe_inputs
from pipeline.placement import DEFAULT_CLUSTER, Cluster
from pipeline.server import AlreadyExists, NotFound, Server, Unreachable, list_all, name_filter
from qc_core import __version__
from qc_core.config.resolve import AS_THE_RECIPE
from qc_core.errors import RunError

# Default of the form in a version that `submit` and `schedule` upload.
DEFAULT_RECIPE = "cube-single-quickstart"
_DIGITS = 12


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        given: values for the inputs of the pipeline that a person has chosen.
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
        """Recipe, options and other chosen inputs in one line."""
        given = dict(self.given)
        if given["recipe_method"] == AS_THE_RECIPE:
            del given["recipe_method"]
        names = {"recipe_method": "method", "recipe_overrides": "overrides"}
        return "; ".join(
            f"{names.get(name, name)} {value}" for name, value in given.items() if value
        )

    @property
    def version(self) -> str:
        """Name of the pipeline version."""
        return f"{__version__}-{self.digest[:_DIGITS]}"

    @property
    def description(self) -> str:
        """Description of the version on the server; its digest identifies the content."""
        return f"q-chunking {__version__}, sha256:{self.digest}"

    @cached_property
    def specification(self) -> dict[str, Any]:
        """The pipeline specification, without the Kubernetes document."""
        return next(yaml.safe_load_all(self.content))

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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compile_pipeline(DEFAULT_RECIPE, (), path, cluster)
        content = path.read_text(encoding="utf-8")
    package = Package(given=recipe_inputs(recipe, overrides), content=content)
    values = parse_inputs(inputs, package.inputs) if inputs else {}
    if earlier is not None:
        values = {**earlier.inputs_for(package.inputs), **values}
    return replace(package, given={**package.given, **values})


def upload(server: Server, package: Package) -> Any:
    """Return the package's version on the server; upload the package if it is missing.

    Raises:
        RunError: a version of that name has other content, or the upload was interrupted. The
            server stores nothing of an incomplete upload.
    """
    pipeline_id = _pipeline(server).pipeline_id
    found = _find_version(server, pipeline_id, package)
    if found is not None:
        return found
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(package.content, encoding="utf-8")
        try:
            return server.uploads.upload_pipeline_version(
                str(path),
                name=package.version,
                pipelineid=pipeline_id,
                description=package.description,
            )
        except AlreadyExists as error:
            # Another client created it in the meantime.
            found = _find_version(server, pipeline_id, package)
            if found is None:
                raise RunError(f"the package was not uploaded: {error}") from error
            return found
        except Unreachable as error:
            raise Unreachable(f"the package was not uploaded: {error}") from error


def find_pipeline(server: Server) -> Any | None:
    """Return the pipeline named `PIPELINE_NAME`, or None if the server has none."""
    try:
        return server.pipelines.pipeline_service_get_pipeline_by_name(
            PIPELINE_NAME, namespace=server.namespace
        )
    except NotFound:
        return None


def latest_version(server: Server, pipeline_id: str) -> str:
    """Return the name of the newest version, which runs without a version use."""
    answer = server.pipelines.pipeline_service_list_pipeline_versions(
        pipeline_id, page_size=1, sort_by="created_at desc"
    )
    return answer.pipeline_versions[0].display_name


def _pipeline(server: Server) -> Any:
    """Return the pipeline named `PIPELINE_NAME`; create it if the server has none."""
    found = find_pipeline(server)
    if found is not None:
        return found
    new = kfp_server_api.V2beta1Pipeline(
        name=PIPELINE_NAME, display_name=PIPELINE_NAME, namespace=server.namespace
    )
    try:
        return server.pipelines.pipeline_service_create_pipeline(new)
    except AlreadyExists:
        # Another client created it in the meantime.
        found = find_pipeline(server)
        if found is None:
            raise
        return found


def _find_version(server: Server, pipeline_id: str, package: Package) -> Any | None:
    """Return the package's version, or None (RunError: that version has other content)."""
    list_page = server.pipelines.pipeline_service_list_pipeline_versions
    for version in list_all(
        list_page, "pipeline_versions", pipeline_id=pipeline_id, filter=name_filter(package.version)
    ):
        if package.digest not in (version.description or ""):
            raise RunError(
                f"version {package.version} of {PIPELINE_NAME} on the KFP server was not made from "
                "this package: delete that version there"
            )
        return version
    return None
