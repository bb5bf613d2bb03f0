"""Every method learns offline and online, is exported, and plays."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qc_core.config.methods import METHODS
from qc_core.config.settings import Config
from qc_core.export.export import export
from qc_core.runtime import ChunkPolicy
from qc_core.training.fine_tune import fine_tune
from qc_core.training.pretrain import pretrain
from qc_core.training.saved_agent import save_checkpoint
from tests.train_settings import is_best_of_n, train_with


@pytest.mark.parametrize("method", METHODS)
def test_a_method_goes_all_the_way(
    tmp_path: Path, config: Config, dataset: Path, method: str
) -> None:
    train = train_with(method, config.train, num_samples=4, flow_steps=3)
    chosen = replace(config, train=train)
    pretrain(chosen, dataset, tmp_path / "offline")
    result = fine_tune(chosen, tmp_path / "offline", dataset, trial=0, on_score=lambda _: None)
    save_checkpoint(tmp_path / "online", result.agent, result.checkpoint, result.curve)
    contract = export(tmp_path / "online", tmp_path / "policy")

    actions = 5 if METHODS[method].chunked else 1
    best_of_n = is_best_of_n(method)
    assert (contract.method, contract.chunk_length) == (method, actions)
    assert contract.noise.shape == ((4, actions * 5) if best_of_n else (actions * 5,))
    assert contract.flow_steps == (3 if best_of_n else 0)
    policy = ChunkPolicy.load(tmp_path / "policy", seed=0)
    assert policy.chunk(np.zeros((3, 28))).shape == (3, actions, 5)
    assert policy.act(np.zeros(28)).shape == (5,)
