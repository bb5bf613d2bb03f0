"""Write the package that the KFP UI takes."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qc_core.errors import WrongUse


def compile_pipeline(recipe: str, overrides: Sequence[str], output: Path) -> None:
    """Compile the pipeline with this recipe and these overrides as its inputs' defaults."""
    from kfp import compiler

    from pipeline.definition import q_chunking

    pipeline: Any = q_chunking

    if output.suffix not in (".yaml", ".yml"):
        raise WrongUse(f"a pipeline package is a .yaml file, got {output}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        handle, staging = tempfile.mkstemp(suffix=".yaml", dir=output.parent)
    except OSError as error:
        raise WrongUse(f"cannot write {output}: {error.strerror}") from error
    os.close(handle)
    try:
        compiler.Compiler().compile(
            pipeline,
            staging,
            pipeline_parameters={"recipe": recipe, "overrides": shlex.join(overrides)},
        )
        os.chmod(staging, 0o644)
        os.replace(staging, output)
    except BaseException:
        Path(staging).unlink(missing_ok=True)
        raise
