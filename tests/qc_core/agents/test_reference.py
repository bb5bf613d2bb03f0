"""Every method agrees with a slow NumPy float64 reference, written from the equations."""

import numpy as np
import pytest
import torch

from qc_core.agents.agent import Agent
from qc_core.agents.flow_agent import FlowNoise
from qc_core.agents.make import make_agent
from qc_core.agents.one_step import OneStepNoise
from qc_core.agents.sac import SACNoise
from qc_core.config.methods import METHODS
from qc_core.data.replay.windows import Windows, gather_windows
from tests import reference, sac_reference
from tests.losses import losses_by_name
from tests.qc_core.data.replay.test_windows import Rows
from tests.train_settings import is_best_of_n, is_gaussian, is_one_step, train_with

TOLERANCE = 1e-6
OBSERVATION, ACTION, BATCH, ROWS = 4, 3, 24, 60


class Case:
    """One method with random weights, rows and noise, and the reference's result."""

    def __init__(self, method: str, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.config = train_with(
            method,
            backup_horizon=5,
            hidden_dims=(8, 7),
            num_critics=3,
            num_samples=6,
            flow_steps=4,
            alpha=7.0,
            tau=0.1,
            learning_rate=1e-3,
        )
        self.agent: Agent = make_agent(OBSERVATION, ACTION, self.config).double()
        with torch.no_grad():
            for parameter in self.agent.parameters():
                # Move biases, scales and targets from their initial values, and clip some actions.
                parameter.add_(0.3 * torch.randn_like(parameter))
        terminals = (rng.uniform(size=ROWS) < 0.15).astype(float)
        self.rows = {
            "observations": rng.normal(size=(ROWS, OBSERVATION)),
            "next_observations": rng.normal(size=(ROWS, OBSERVATION)),
            "actions": rng.uniform(-1, 1, (ROWS, ACTION)),
            "rewards": rng.normal(size=ROWS),
            # Some successes end their episode, and some do not.
            "masks": (rng.uniform(size=ROWS) > 0.1).astype(float),
            "terminals": terminals,
        }
        self.starts = rng.integers(0, ROWS - self.config.backup_steps + 1, BATCH)
        size = self.config.chunk_length * ACTION
        self.noise = {
            "target": rng.normal(size=(BATCH, *self.agent.noise_shape)),
            "flow_x0": rng.normal(size=(BATCH, size)),
            "flow_time": rng.uniform(size=(BATCH, 1)),
            "distillation": rng.normal(size=(BATCH, size)),
            "actor": rng.normal(size=(BATCH, size)),
        }
        weights = {
            name: value.detach().numpy().copy() for name, value in self.agent.state_dict().items()
        }
        shared = {
            "chunk": 5 if METHODS[method].chunked else 1,
            "backup": 5 if METHODS[method].multi_step else 1,
            "discount": self.config.discount,
            "critics": 3,
            "learning_rate": 1e-3,
            "tau": 0.1,
        }
        inputs = (weights, self.rows, self.starts, self.noise)
        if is_gaussian(method):
            self.expected = sac_reference.update(
                *inputs,
                sac_reference.Settings(
                    **shared,
                    target_entropy=-0.5 * size,
                    bc_weight=0.01 if method == "qc-rlpd" else 0.0,
                ),
            )
        else:
            samples = 6 if is_best_of_n(method) else 0
            settings = reference.Settings(**shared, flow_steps=4, alpha=7.0, num_samples=samples)
            self.expected = reference.update(*inputs, settings)

    @property
    def windows(self) -> Windows:
        return gather_windows(
            Rows(self.rows),
            torch.from_numpy(self.starts),
            backup_steps=self.config.backup_steps,
            discount=self.config.discount,
        )

    @property
    def update_noise(self) -> FlowNoise | SACNoise:
        tensors = {name: torch.from_numpy(value) for name, value in self.noise.items()}
        if is_gaussian(self.config.method):
            return SACNoise(tensors["target"], tensors["actor"])
        shared = tensors["target"], tensors["flow_x0"], tensors["flow_time"]
        if is_one_step(self.config.method):
            return OneStepNoise(*shared, tensors["distillation"])
        return FlowNoise(*shared)


@pytest.fixture(params=METHODS)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def assert_equal(got: torch.Tensor, expected: np.ndarray | float) -> None:
    wanted = np.asarray(expected)
    error = np.abs(got.detach().numpy() - wanted).max() / np.abs(wanted).max()
    assert error <= TOLERANCE


def test_policy_chooses_the_references_actions(case: Case) -> None:
    chosen = case.agent.choose(case.windows.next_observations_BO, case.update_noise.target)
    assert_equal(chosen, case.expected.next_actions)


def test_losses_and_target_equal_the_references(case: Case) -> None:
    losses = losses_by_name(case.agent, case.windows, case.update_noise)
    assert_equal(losses["critic"].value, case.expected.critic_loss)
    assert_equal(losses["actor"].value, case.expected.actor_loss)
    assert_equal(losses["critic"].figures["target"], case.expected.target.mean())


def test_one_update_equals_the_references(case: Case) -> None:
    case.agent.update(case.windows, case.update_noise)
    after = case.agent.state_dict()
    assert set(case.expected.updated) == {name for name, _ in case.agent.named_parameters()}
    for name, expected in case.expected.updated.items():
        gradient = np.abs(case.expected.gradients.get(name, np.ones_like(expected)))
        # Adam divides a gradient by its size, so the sign of a rounding error would count. A
        # gradient that is exactly zero, after a ReLU, is clear.
        clear = np.asarray((gradient > 1e-12 * gradient.max()) | (gradient == 0))
        assert clear.mean() > 0.9
        assert_equal(after[name][torch.from_numpy(clear)], expected[clear])


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("qc-fql", ("one_step.weights.1", "one_step.biases.0", "critic.scales.0")),
        ("qc-rlpd", ("actor.trunk.weights.0", "actor.log_std.biases.0", "critic.shifts.0")),
    ],
)
def test_reference_gradients_match_central_differences(method: str, names: tuple[str, ...]) -> None:
    """The differences run through a method's complete loss."""
    case = Case(method, seed=1)
    windows, noise = case.windows, case.update_noise
    for name in names:
        parameter = dict(case.agent.named_parameters())[name]
        place = (0,) * parameter.ndim
        losses = []
        for shift in (1e-5, -1e-5):
            with torch.no_grad():
                parameter[place] += shift
            trained_by = "critic" if name.startswith("critic") else "actor"
            loss = losses_by_name(case.agent, windows, noise)[trained_by]
            # The temperature loss has no gradient to the policy, but a difference would see one.
            value = loss.value - loss.figures.get("temperature_loss", torch.tensor(0.0))
            losses.append(float(value.detach()))
            with torch.no_grad():
                parameter[place] -= shift
        slope = (losses[0] - losses[1]) / 2e-5
        assert slope == pytest.approx(case.expected.gradients[name][place], rel=1e-4)
