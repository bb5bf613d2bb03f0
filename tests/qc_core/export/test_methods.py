"""Every method learns offline and online, is exported, and gives the same chunks as torch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qc_core.agents.agent import Agent
from qc_core.agents.best_of_n import BestOfNAgent
from qc_core.config.methods import METHODS
from qc_core.config.settings import Config
from qc_core.export.export import export
from qc_core.runtime import ChunkPolicy
from qc_core.training.fine_tune import fine_tune
from qc_core.training.pretrain import pretrain
from qc_core.training.saved_agent import save_checkpoint
from tests.train_settings import is_best_of_n, train_with

CASES = 1000
# In float64 the same sums differ by far less than in float32, in which onnxruntime compares.
TIE = 1e-5


def right_chunks(agent: Agent, observation: np.ndarray, noise: np.ndarray) -> list[np.ndarray]:
    """Return the correct chunks [K, H, A] of each case, computed in float64."""
    double = agent.double()
    inputs = torch.from_numpy(observation).double(), torch.from_numpy(noise).double()
    with torch.inference_mode():
        if not isinstance(double, BestOfNAgent):
            return list(double.chunk(*inputs)[:, None].numpy())
        samples, value = double.samples(*inputs)
        chunks = double.in_environment_units(samples).numpy()
    # The other implementation of the critics does not share computations between samples.
    size = samples.shape[1]
    normal = (inputs[0] - double.observation_mean) / double.observation_std
    again = double.values(double.critic, normal.repeat_interleave(size, 0), samples.flatten(0, 1))
    torch.testing.assert_close(again.mean(0).unflatten(0, (-1, size)), value)
    best = value.max(dim=1, keepdim=True).values
    close = (value >= best - TIE * best.abs().clamp(min=1)).numpy()
    return [chunk[kept] for chunk, kept in zip(chunks, close, strict=True)]


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

    rng = np.random.default_rng(0)
    observation = rng.normal(size=(CASES, 28)).astype(np.float32)
    noise = rng.normal(size=(CASES, *contract.noise.shape)).astype(np.float32)
    right = right_chunks(result.agent.eval(), observation, noise)
    worst = max(
        np.abs(chunks - chunk).max(axis=(1, 2)).min()
        for chunks, chunk in zip(right, policy.chunk(observation, noise), strict=True)
    )
    assert worst <= 1e-5
    assert len(right) == CASES
    # Nearly every case has one correct chunk; clipped samples may be equal.
    assert sum(np.ptp(chunks, axis=0).max() > 1e-5 for chunks in right) < CASES / 100
