"""Comparison of exported policies with torch knows which chunks are correct."""

from pathlib import Path

import numpy as np
import pytest
import torch

from qc_core.agents.agent import Agent
from qc_core.agents.make import make_agent
from qc_core.export.parity import Cases, draw_cases
from qc_core.networks.mlp import MLP
from qc_core.policy_format.contract import Actions
from tests.train_settings import train_with

ACTIONS = Actions(names=("u", "v"), low=(-1.0, -1.0), high=(1.0, 1.0))


def make(method: str) -> Agent:
    """Return an agent with 7 observations, 2 actions and, for best-of-N, 4 samples."""
    torch.manual_seed(3)
    train = train_with(method, hidden_dims=(16, 16), backup_horizon=3, num_samples=4, flow_steps=2)
    agent = make_agent(7, 2, train).eval()
    agent.set_normalization(torch.randn(7), torch.rand(7) + 0.5)
    return agent


def test_another_sample_than_the_best_is_a_difference() -> None:
    cases = draw_cases(make("qc"), 50, seed=0)
    assert cases.correct_BN.sum() == 50
    assert cases.difference(cases.chunk_BNHA[:, 0], ACTIONS) == 0
    assert cases.difference(cases.chunk_BNHA[:, 1], ACTIONS) > 0.1
    chunk = cases.chunk_BNHA[:, 0].copy()
    chunk[7, 2, 1] += 0.25
    assert cases.difference(chunk, ACTIONS) == pytest.approx(0.25, abs=1e-6)


def test_samples_of_equal_value_are_all_correct() -> None:
    agent = make("qc")
    assert isinstance(agent.critic, MLP)
    torch.nn.init.zeros_(agent.critic.weights[-1])
    cases = draw_cases(agent, 50, seed=0)
    assert cases.correct_BN.all()
    assert cases.difference(cases.chunk_BNHA[:, 3], ACTIONS) == 0
    assert cases.difference(cases.chunk_BNHA[:, 3] + 0.25, ACTIONS) > 0.1


def test_the_choice_of_torch_comes_first() -> None:
    agent = make("bfn")
    cases = draw_cases(agent, 50, seed=0)
    chunk = agent.chunk(torch.from_numpy(cases.observation_BO), torch.from_numpy(cases.noise))
    np.testing.assert_array_equal(cases.chunk_BNHA[:, 0], chunk.detach())


def test_golden_cases_have_one_correct_chunk(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    right = np.zeros((40, 2), bool)
    right[:, 0] = True
    right[::2, 1] = True
    cases = Cases(
        rng.normal(size=(40, 7)), rng.normal(size=(40, 2, 6)), rng.normal(size=(40, 2, 3, 2)), right
    )
    cases.write_golden(tmp_path / "golden.npz")
    with np.load(tmp_path / "golden.npz") as golden:
        np.testing.assert_array_equal(golden["observation"], cases.observation_BO[1:33:2])
        np.testing.assert_array_equal(golden["noise"], cases.noise[1:33:2])
        np.testing.assert_array_equal(golden["action_chunk"], cases.chunk_BNHA[1:33:2, 0])
