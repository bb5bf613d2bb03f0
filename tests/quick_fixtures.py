"""The shared fixtures with the quick environment, for tests of training and tuning.

A `conftest.py` imports them; they replace those of `tests/conftest.py` in its folder.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from qc_core.config.settings import Config
from qc_core.envs.make import describe
from qc_core.export.export import export
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.training.pretrain import pretrain
from tests.conftest import small_config, write_random_dataset
from tests.quick_environment import QUICK


@pytest.fixture(scope="session")
def spec() -> EnvironmentSpec:
    return describe(QUICK)


@pytest.fixture(scope="session")
def config() -> Config:
    """The smoke recipe with even fewer steps, in one process."""
    return replace(small_config(), environment=QUICK)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, spec: EnvironmentSpec) -> Path:
    """A small dataset folder of random numbers."""
    return write_random_dataset(tmp_path_factory.mktemp("data") / "dataset", spec)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, config: Config, dataset: Path) -> Path:
    """A pretrained checkpoint folder."""
    folder = tmp_path_factory.mktemp("checkpoints") / "offline"
    pretrain(config, dataset, folder)
    return folder


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """An exported policy folder."""
    folder = tmp_path_factory.mktemp("policies") / "policy"
    export(checkpoint, folder)
    return folder
