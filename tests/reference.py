"""A slow reference of the flow family in NumPy float64, written from the equations.

Independent of the agents: every row in its own loop, every gradient by hand.

Shapes: K critics, B batch, N samples, L flattened chunk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

Arrays = dict[str, np.ndarray]
EPSILON_OF_NORM, EPSILON_OF_ADAM = 1e-6, 1e-8
_C = math.sqrt(2 / math.pi)


class Network:
    """One network: Dense → GELU → LayerNorm (if it has scales), and a last Dense layer.

    Args:
        norm_first: the order is Dense → LayerNorm → activation.
    """

    def __init__(
        self,
        arrays: Arrays,
        prefix: str,
        member: int | None = None,
        *,
        activation: str = "gelu",
        norm_first: bool = False,
    ) -> None:
        self.activation, self.norm_first = activation, norm_first
        self.values: Arrays = {}
        for kind in ("weights", "biases", "scales", "shifts"):
            layer = 0
            while f"{prefix}.{kind}.{layer}" in arrays:
                value = arrays[f"{prefix}.{kind}.{layer}"]
                self.values[f"{kind}.{layer}"] = value if member is None else value[member]
                layer += 1
        self.layers = sum(name.startswith("weights") for name in self.values)
        self.gradients = {name: np.zeros_like(value) for name, value in self.values.items()}

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """[B, inputs] → [B, outputs]; records what `backward` needs."""
        self.tape: list[list] = []
        for layer in range(self.layers):
            x, back = self._dense(x, layer)
            steps = [back]
            if layer < self.layers - 1:
                parts = [self._activate, self._normalize]
                for part in reversed(parts) if self.norm_first else parts:
                    x, back = part(x, layer)
                    steps.append(back)
            self.tape.append(steps)
        return x

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Add up the gradients of the weights, and return the gradient of the input."""
        for steps in reversed(self.tape):
            for undo in reversed(steps):
                gradient = undo(gradient)
        return gradient

    # Each returns its output and its backward function.

    def _dense(self, x, layer):
        weight, bias = f"weights.{layer}", f"biases.{layer}"

        def back(gradient):
            self.gradients[weight] += gradient.T @ x
            self.gradients[bias] += gradient.sum(0)
            return gradient @ self.values[weight]

        return x @ self.values[weight].T + self.values[bias], back

    def _activate(self, u, layer):
        if self.activation == "relu":
            return np.maximum(u, 0), lambda gradient: gradient * (u > 0)
        t = np.tanh(_C * (u + 0.044715 * u**3))
        slope = 0.5 * (1 + t) + 0.5 * u * (1 - t**2) * _C * (1 + 3 * 0.044715 * u**2)
        return 0.5 * u * (1 + t), lambda gradient: gradient * slope

    def _normalize(self, x, layer):
        scale, shift = f"scales.{layer}", f"shifts.{layer}"
        if scale not in self.values:
            return x, lambda gradient: gradient
        centred = x - x.mean(1, keepdims=True)
        spread = np.sqrt((centred**2).mean(1, keepdims=True) + EPSILON_OF_NORM)
        unit = centred / spread

        def back(gradient):
            self.gradients[scale] += (gradient * unit).sum(0)
            self.gradients[shift] += gradient.sum(0)
            of_unit = gradient * self.values[scale]
            along = unit * (of_unit * unit).mean(1, keepdims=True)
            return (of_unit - of_unit.mean(1, keepdims=True) - along) / spread

        return unit * self.values[scale] + self.values[shift], back


@dataclass
class Settings:
    """Constants in the equations of the flow family.

    Attributes:
        chunk: actions per chunk.
        backup: steps per backup.
        num_samples: N, or 0 for the one-step policy.
    """

    chunk: int
    backup: int
    discount: float
    flow_steps: int
    alpha: float
    num_samples: int
    critics: int
    learning_rate: float
    tau: float


@dataclass
class Result:
    """The results of one update."""

    next_actions: np.ndarray
    target: np.ndarray
    critic_loss: float
    actor_loss: float
    updated: Arrays = field(default_factory=dict)
    gradients: Arrays = field(default_factory=dict)


class Backup(Protocol):
    """The settings that windows depend on."""

    chunk: int
    backup: int
    discount: float


def windows(rows: Arrays, starts: np.ndarray, settings: Backup) -> Arrays:
    """The batch of the paper, row by row."""
    batch: dict[str, list] = {n: [] for n in ("s", "a", "return", "mask", "next", "valid")}
    for start in starts:
        total, mask, valid, ended = 0.0, 1.0, [], 0.0
        for k in range(settings.backup):
            row = start + k
            valid.append(1.0 - ended)
            total += settings.discount**k * rows["rewards"][row]
            mask = min(mask, rows["masks"][row])
            ended = max(ended, rows["terminals"][row])
        batch["s"].append(rows["observations"][start])
        batch["a"].append(rows["actions"][start : start + settings.chunk].reshape(-1))
        batch["return"].append(total)
        batch["mask"].append(mask)
        batch["next"].append(rows["next_observations"][start + settings.backup - 1])
        batch["valid"].append(valid)
    return {name: np.array(values) for name, values in batch.items()}


def flow(field_of: Network, s: np.ndarray, noise: np.ndarray, steps: int) -> np.ndarray:
    """Euler's method for one batch, clipped at the end."""
    x = noise.copy()
    for i in range(steps):
        time = np.full((len(x), 1), i / steps)
        x = x + field_of(np.concatenate([s, x, time], 1)) / steps
    return np.clip(x, -1, 1)


def update(weights: Arrays, rows: Arrays, starts: np.ndarray, noise: Arrays, settings: Settings):
    """One update of a flow-family method."""
    batch = windows(rows, starts, settings)
    s, a, valid = batch["s"], batch["a"], batch["valid"]
    size, members = len(s), range(settings.critics)
    critics = [Network(weights, "critic", k) for k in members]
    targets = [Network(weights, "target_critic", k) for k in members]
    velocity = Network(weights, "flow.mlp")
    one_step = Network(weights, "one_step") if not settings.num_samples else None

    # The target
    if one_step is not None:
        raw = one_step(np.concatenate([batch["next"], noise["target"]], 1))
        next_actions = np.clip(raw, -1, 1)
    else:
        chosen = []
        for b in range(size):
            state = np.repeat(batch["next"][b : b + 1], settings.num_samples, 0)
            options = flow(velocity, state, noise["target"][b], settings.flow_steps)
            value = sum(q(np.concatenate([state, options], 1)) for q in critics)
            chosen.append(options[int(np.argmax(value))])
        next_actions = np.array(chosen)
    next_input = np.concatenate([batch["next"], next_actions], 1)
    next_value = sum(q(next_input)[:, 0] for q in targets) / settings.critics
    bootstrap = settings.discount**settings.backup * batch["mask"]
    target = batch["return"] + bootstrap * next_value

    # The critics
    critic_loss = 0.0
    for q in critics:
        error = q(np.concatenate([s, a], 1))[:, 0] - target
        critic_loss += (error**2 * valid[:, -1]).sum() / (settings.critics * size)
        q.backward((2 * error * valid[:, -1] / (settings.critics * size))[:, None])

    # The flow
    t = noise["flow_time"]
    x = (1 - t) * noise["flow_x0"] + t * a
    error = velocity(np.concatenate([s, x, t], 1)) - (a - noise["flow_x0"])
    steps = np.repeat(valid[:, : settings.chunk], a.shape[1] // settings.chunk, 1)
    actor_loss = (error**2 * steps).mean()
    velocity.backward(2 * error * steps / error.size)

    # The one-step policy
    if one_step is not None:
        # Sampling uses a second network, so that the tape of the regression is not overwritten.
        wanted = flow(Network(weights, "flow.mlp"), s, noise["distillation"], settings.flow_steps)
        mu = one_step(np.concatenate([s, noise["distillation"]], 1))
        actor_loss += settings.alpha * ((mu - wanted) ** 2).mean()
        of_mu = settings.alpha * 2 * (mu - wanted) / mu.size
        for k in members:
            judge = Network(weights, "critic", k)
            value = judge(np.concatenate([s, np.clip(mu, -1, 1)], 1))[:, 0]
            actor_loss -= value.sum() / (settings.critics * size)
            of_input = judge.backward(np.full((size, 1), -1 / (settings.critics * size)))
            of_mu = of_mu + of_input[:, s.shape[1] :] * (np.abs(mu) <= 1)
        one_step.backward(of_mu)

    # Adam's first step for all networks, then the target, from the critics before the step
    result = Result(next_actions, target, float(critic_loss), float(actor_loss))
    learned = {"flow.mlp": [velocity], "critic": critics}
    if one_step is not None:
        learned["one_step"] = [one_step]
    for prefix, networks in learned.items():
        adam_step(result, prefix, networks, settings.learning_rate, stacked=prefix == "critic")
    lagging_target(result, critics[0], weights, settings.tau)
    return result


def adam_step(
    result: Result, prefix: str, networks: list[Network], learning_rate: float, *, stacked: bool
) -> None:
    """Adam's first step: the gradient divided by its own size."""
    for name in networks[0].values:
        gradient = np.stack([network.gradients[name] for network in networks])
        value = np.stack([network.values[name] for network in networks])
        if not stacked:
            gradient, value = gradient[0], value[0]
        step = gradient / (np.abs(gradient) + EPSILON_OF_ADAM)
        result.gradients[f"{prefix}.{name}"] = gradient
        result.updated[f"{prefix}.{name}"] = value - learning_rate * step


def lagging_target(result: Result, critic: Network, weights: Arrays, tau: float) -> None:
    """The target critics follow the critics as they were before the step."""
    for name in critic.values:
        old, online = weights[f"target_critic.{name}"], weights[f"critic.{name}"]
        result.updated[f"target_critic.{name}"] = old + tau * (online - old)
