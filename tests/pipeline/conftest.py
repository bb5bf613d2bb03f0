"""One whole run of the pipeline, which several tests look at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

QC = [sys.executable, "-m", "qc_core.cli.main"]


def qc(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*QC, *words], capture_output=True, text=True, cwd=folder)


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One run of the smoke recipe, with a store of its own beside it."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("QC_", "AWS_", "KFP_"))]:
            patch.delenv(name)
        done = qc(folder, "run", "smoke", "-o", "run", "--seed", "3")
    assert done.returncode == 0, done.stderr
    return folder, done
