"""Compiles the pipeline to the YAML package that KFP uploads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.inputs import recipe_inputs
from pipeline.placement import DEFAULT_CLUSTER, Cluster
from qc_core.errors import UsageError
from qc_core.files import reading, require_file_place, staged_file

# Default of the form, the same whoever compiles: a package depends only on code and cluster.
DEFAULT_RECIPE = "cube-single-quickstart"
# First characters of every package.
_HEADER = "# PIPELINE DEFINITION"


def compile_pipeline(
    recipe: str, overrides: Sequence[str], output: Path, cluster: Cluster = DEFAULT_CLUSTER
) -> None:
    """Compile the pipeline; recipe and overrides become the defaults of its inputs.

    Args:
        cluster: what the pipeline must know of the cluster.

    Raises:
        UsageError: the output is not a .yaml file, exists and is not a package, or is not writable.
    """
    from kfp import compiler

    from pipeline.definition import make_pipeline

    require_package_place(output)
    with staged_file(output) as staging:
        compiler.Compiler().compile(
            make_pipeline(cluster),
            str(staging),
            pipeline_parameters=recipe_inputs(recipe, overrides),
        )


def _is_package(path: Path) -> bool:
    with reading(path), path.open(errors="replace") as file:
        return file.read(len(_HEADER)) == _HEADER


def require_package_place(output: Path) -> None:
    """Raise UsageError unless a package can be written to this file."""
    if output.suffix not in (".yaml", ".yml"):
        raise UsageError(f"the output must be a .yaml file, got {output}")
    require_file_place(output)
    if output.exists() and not _is_package(output):
        raise UsageError(
            f"{output} exists and is not a pipeline package: choose another output or move it"
        )
