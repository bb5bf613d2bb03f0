"""QC, QC-FQL and RLPD-AC agree with the numbers of the paper's code."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from qc_core.agents.agent import Loss
from qc_core.agents.critic_agent import CriticAgent
from qc_core.agents.flow_agent import FlowNoise
from qc_core.agents.make import make_agent
from qc_core.agents.one_step import OneStepNoise
from qc_core.agents.sac import SACAgent, SACNoise
from qc_core.data.replay.windows import Windows
from tests.losses import losses_by_name
from tests.train_settings import train_with

VECTORS = Path(__file__).parents[2] / "data" / "vectors"
TOLERANCE = 1e-4


class Reference:
    """The paper's numbers under our names."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.arrays = dict(np.load(VECTORS / f"{method}.npz"))
        self.meta = json.loads(str(self.arrays["meta"]))
        meta = self.meta
        agent = make_agent(
            meta["observation"],
            meta["action"],
            train_with(
                method,
                hidden_dims=tuple(meta["hidden"]),
                backup_horizon=meta["horizon"],
                discount=meta["discount"],
                num_critics=meta["critics"],
                learning_rate=meta["lr"],
                tau=meta["tau"],
                **(
                    {"target_entropy_factor": -meta["target_entropy"] / self.chunk_size}
                    if method == "rlpd-ac"
                    else {
                        "num_samples": meta["candidates"],
                        "alpha": meta["alpha"],
                        "flow_steps": meta["flow_steps"],
                    }
                ),
            ),
        )
        assert isinstance(agent, CriticAgent)
        self.agent = agent
        buffers = dict(self.agent.named_buffers())
        self.agent.load_state_dict({**buffers, **self.weights("params")})

    def weights(self, group: str) -> dict[str, torch.Tensor]:
        """Our state dict from one group of theirs; their kernels are (in, out)."""
        state: dict[str, torch.Tensor] = {}
        hidden = len(self.meta["hidden"])

        def dense(ours: str, layer: int, theirs: str) -> None:
            state[f"{ours}.weights.{layer}"] = self.array(f"{group}/{theirs}/kernel").mT
            state[f"{ours}.biases.{layer}"] = self.array(f"{group}/{theirs}/bias")

        def norm(ours: str, layer: int, theirs: str) -> None:
            if f"{group}/{theirs}/scale" in self.arrays:
                state[f"{ours}.scales.{layer}"] = self.array(f"{group}/{theirs}/scale")
                state[f"{ours}.shifts.{layer}"] = self.array(f"{group}/{theirs}/bias")

        if self.method == "rlpd-ac":
            for ours in ("critic", "target_critic"):
                theirs = f"modules_{ours}/VmapStateActionValue_0"
                for layer in range(hidden):
                    dense(ours, layer, f"{theirs}/MLP_0/Dense_{layer}")
                    norm(ours, layer, f"{theirs}/MLP_0/LayerNorm_{layer}")
                dense(ours, hidden, f"{theirs}/Dense_0")
            for layer in range(hidden):
                dense("actor.trunk", layer, f"modules_actor/MLP_0/Dense_{layer}")
            dense("actor.mean", 0, "modules_actor/OutputDenseMean")
            dense("actor.log_std", 0, "modules_actor/OutputDenseLogStd")
            state["log_temperature"] = self.array(f"{group}/modules_alpha/log_temp")
            return state
        networks = {
            "flow.mlp": "modules_actor_bc_flow/mlp",
            "critic": "modules_critic/value_net",
            "target_critic": "modules_target_critic/value_net",
        }
        if self.method == "qc-fql":
            networks["one_step"] = "modules_actor_onestep_flow/mlp"
        for ours, theirs in networks.items():
            for layer in range(hidden + 1):
                dense(ours, layer, f"{theirs}/Dense_{layer}")
                norm(ours, layer, f"{theirs}/LayerNorm_{layer}")
        return state

    @property
    def chunk_size(self) -> int:
        return self.meta["horizon"] * self.meta["action"]

    def array(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[name])

    @property
    def windows(self) -> Windows:
        return Windows(
            observations_BO=self.array("batch/observations"),
            actions_BHA=self.array("batch/actions"),
            returns_B=self.array("batch/rewards")[:, -1],
            bootstrap_B=self.array("batch/masks")[:, -1]
            * self.meta["discount"] ** self.meta["horizon"],
            next_observations_BO=self.array("batch/next_observations")[:, -1],
            valid_BH=self.array("batch/valid"),
            weight_B=self.array("batch/valid")[:, -1],
        )

    @property
    def noise(self) -> FlowNoise | SACNoise:
        if self.method == "rlpd-ac":
            return SACNoise(self.array("noise/target"), self.array("noise/actor"))
        target, x0, time = map(self.array, ("noise/target", "noise/flow_x0", "noise/flow_t"))
        if self.method == "qc-fql":
            return OneStepNoise(target, x0, time, self.array("noise/distill"))
        return FlowNoise(target, x0, time)

    def loss(self, name: str, windows: Windows | None = None) -> Loss:
        return losses_by_name(self.agent, windows or self.windows, self.noise)[name]


@pytest.fixture(params=["qc", "qc-fql", "rlpd-ac"])
def reference(request: pytest.FixtureRequest) -> Reference:
    return Reference(request.param)


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.detach() - expected).abs().max() / expected.abs().max())


def test_reference_weights_cover_every_parameter(reference: Reference) -> None:
    ours = set(dict(reference.agent.named_parameters()))
    assert ours == set(reference.weights("params"))


def test_critic_loss_equals_the_papers(reference: Reference) -> None:
    loss = reference.loss("critic").value
    assert relative_error(loss, reference.array("out/critic_loss")) < TOLERANCE


def test_actor_loss_and_its_terms_equal_the_papers(reference: Reference) -> None:
    actor = reference.loss("actor")
    loss, info = actor.value, actor.figures
    if reference.method == "rlpd-ac":
        assert relative_error(loss, reference.array("out/total_actor_loss")) < TOLERANCE
        for ours, theirs in (
            ("soft_loss", "actor_loss"),
            ("temperature_loss", "alpha_loss"),
            ("temperature", "alpha"),
            ("entropy", "entropy"),
        ):
            assert relative_error(info[ours], reference.array(f"out/{theirs}")) < TOLERANCE
        return
    assert relative_error(loss, reference.array("out/actor_loss")) < TOLERANCE
    assert relative_error(info["bc_loss"], reference.array("out/bc_flow_loss")) < TOLERANCE
    if reference.method == "qc-fql":
        distillation = info["distillation_loss"]
        assert relative_error(distillation, reference.array("out/distill_loss")) < TOLERANCE


def test_policy_chooses_the_papers_actions(reference: Reference) -> None:
    chunk_BHA = reference.agent.chunk(
        reference.windows.next_observations_BO, reference.noise.target
    )
    group = "sample" if reference.method == "rlpd-ac" else "out"
    expected = reference.array(f"{group}/next_actions")
    assert relative_error(chunk_BHA.flatten(1), expected) < TOLERANCE


def test_likelihood_of_a_sample_equals_the_papers() -> None:
    reference = Reference("rlpd-ac")
    agent, noise = reference.agent, reference.noise
    assert isinstance(agent, SACAgent) and isinstance(noise, SACNoise)
    policy = agent.actor(reference.windows.observations_BO)
    chunk_BL, log_likelihood_B = policy.sample(noise.actor_BL)
    expected = reference.array("sample/log_probs")
    assert relative_error(chunk_BL, reference.array("sample/actions")) < TOLERANCE
    assert relative_error(log_likelihood_B, expected) < TOLERANCE
    # The same chunk as data; atanh of a tanh near 1 is inaccurate in float32.
    assert relative_error(policy.log_likelihood(chunk_BL), expected) < 1e-2


def test_one_update_changes_every_weight_as_the_papers_code_does(reference: Reference) -> None:
    agent = reference.agent
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    agent.update(reference.windows, reference.noise)
    gradients = {name: p.grad for name, p in agent.named_parameters() if p.grad is not None}
    compared = 0
    for name, expected in reference.weights("updated").items():
        moved = agent.state_dict()[name] - before[name]
        should_move = expected - before[name]
        if name in gradients:
            # Adam's first step divides a gradient by its own size: where the gradient is close
            # to zero, its sign is a rounding error.
            gradient = gradients[name].abs()
            clear = gradient > 1e-4 * gradient.max()
            moved, should_move = moved[clear], should_move[clear]
        assert relative_error(moved, should_move) < 1e-2, name
        assert relative_error(agent.state_dict()[name], expected) < TOLERANCE, name
        compared += moved.numel()
    assert compared > 0.9 * sum(value.numel() for value in before.values())


def test_target_follows_the_critic_as_it_was_before_the_step(reference: Reference) -> None:
    agent = reference.agent
    critic = [p.detach().clone() for p in agent.critic.parameters()]
    target = [p.detach().clone() for p in agent.target_critic.parameters()]
    agent.update(reference.windows, reference.noise)
    tau = agent.config.tau
    for now, old, online in zip(agent.target_critic.parameters(), target, critic, strict=True):
        torch.testing.assert_close(now.detach(), (1 - tau) * old + tau * online)


def test_actor_loss_does_not_train_the_critic(reference: Reference) -> None:
    agent = reference.agent
    agent.update(reference.windows, reference.noise)
    with_actor = [p.grad.clone() for p in agent.critic.parameters() if p.grad is not None]

    alone = Reference(reference.method).agent
    losses_by_name(alone, reference.windows, reference.noise)["critic"].value.backward()
    expected = [p.grad for p in alone.critic.parameters()]
    assert len(with_actor) == len(expected)
    for got, wanted in zip(with_actor, expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_invalid_windows_do_not_train_the_critic(reference: Reference) -> None:
    windows = reference.windows
    invalid = windows.weight_B == 0
    assert invalid.any()
    spoiled = windows.returns_B.clone()
    spoiled[invalid] += 1e6
    loss = reference.loss("critic", windows).value
    same = reference.loss("critic", windows._replace(returns_B=spoiled)).value
    assert loss == same


def test_normalisation_is_part_of_the_policy(reference: Reference) -> None:
    agent, windows = reference.agent, reference.windows
    mean, std = (
        torch.full((agent.observation_size,), 3.0),
        torch.full((agent.observation_size,), 2.0),
    )
    before = agent.chunk(windows.observations_BO, reference.noise.target)
    agent.set_normalization(mean, std)
    after = agent.chunk(windows.observations_BO * std + mean, reference.noise.target)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_chunks_stay_within_their_bounds(reference: Reference) -> None:
    observation = reference.windows.observations_BO * 100
    agent = reference.agent
    policies = [agent.chunk, *([agent.bc_chunk] if agent.config.algorithm.has_bc_policy else [])]
    for policy in policies:
        assert policy(observation, reference.noise.target * 100).abs().max() <= 1
