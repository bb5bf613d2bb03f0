"""Write the package that the KFP UI takes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qc_core.errors import UsageError
from qc_core.files import reading, require_file_place, staged_file

# What a package begins with.
_MARK = "# PIPELINE DEFINITION"


def compile_pipeline(recipe: str, overrides: Sequence[str], output: Path) -> None:
    """Compile the pipeline with this recipe and these overrides as its inputs' defaults.

    Raises:
        UsageError: not a .yaml file, one that is no package and would be lost, or a place that
            cannot be written.
    """
    from kfp import compiler

    from pipeline.definition import q_chunking

    pipeline: Any = q_chunking

    if output.suffix not in (".yaml", ".yml"):
        raise UsageError(f"a pipeline package is a .yaml file, got {output}")
    require_file_place(output)
    if output.exists() and not _is_package(output):
        raise UsageError(f"{output} is no pipeline package: choose another output or move it")
    with staged_file(output) as staging:
        compiler.Compiler().compile(
            pipeline,
            str(staging),
            pipeline_parameters={"recipe": recipe, "overrides": shlex.join(overrides)},
        )


def _is_package(path: Path) -> bool:
    with reading(path), path.open(errors="replace") as file:
        return file.read(len(_MARK)) == _MARK
