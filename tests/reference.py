"""The flow family in plain NumPy float64, slowly, from the equations alone.

Written without looking at the agents: every row in its own loop, every gradient by hand. Shapes:
K critics, B batch, N candidates, L flattened chunk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

Arrays = dict[str, np.ndarray]
EPSILON_OF_NORM, EPSILON_OF_ADAM = 1e-6, 1e-8
_C = math.sqrt(2 / math.pi)


class Network:
    """Dense → GELU → LayerNorm (if it has scales), plain last layer; one network, no ensemble."""

    def __init__(self, arrays: Arrays, prefix: str, member: int | None = None) -> None:
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
        """[B, inputs] → [B, outputs]; keeps what `backward` needs."""
        self.tape: list[tuple[np.ndarray, ...]] = []
        for layer in range(self.layers):
            before = x
            u = x @ self.values[f"weights.{layer}"].T + self.values[f"biases.{layer}"]
            if layer == self.layers - 1:
                self.tape.append((before,))
                return u
            t = np.tanh(_C * (u + 0.044715 * u**3))
            x = 0.5 * u * (1 + t)
            if f"scales.{layer}" in self.values:
                centred = x - x.mean(1, keepdims=True)
                spread = np.sqrt((centred**2).mean(1, keepdims=True) + EPSILON_OF_NORM)
                unit = centred / spread
                x = unit * self.values[f"scales.{layer}"] + self.values[f"shifts.{layer}"]
                self.tape.append((before, u, t, unit, spread))
            else:
                self.tape.append((before, u, t))
        raise AssertionError("a network has a last layer")

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Add the gradients of the weights; return that of the input."""
        for layer in reversed(range(self.layers)):
            before, *rest = self.tape[layer]
            if rest:
                u, t = rest[:2]
                if len(rest) == 4:
                    unit, spread = rest[2:]
                    self.gradients[f"scales.{layer}"] += (gradient * unit).sum(0)
                    self.gradients[f"shifts.{layer}"] += gradient.sum(0)
                    of_unit = gradient * self.values[f"scales.{layer}"]
                    gradient = (
                        of_unit
                        - of_unit.mean(1, keepdims=True)
                        - unit * (of_unit * unit).mean(1, keepdims=True)
                    ) / spread
                slope = 0.5 * (1 + t) + 0.5 * u * (1 - t**2) * _C * (1 + 3 * 0.044715 * u**2)
                gradient = gradient * slope
            self.gradients[f"weights.{layer}"] += gradient.T @ before
            self.gradients[f"biases.{layer}"] += gradient.sum(0)
            gradient = gradient @ self.values[f"weights.{layer}"]
        return gradient


@dataclass
class Settings:
    """What the equations need to know.

    Attributes:
        chunk: actions per chunk.
        backup: steps per backup.
        candidates: N, or 0 for the one-step policy.
    """

    chunk: int
    backup: int
    discount: float
    flow_steps: int
    alpha: float
    candidates: int
    critics: int
    learning_rate: float
    tau: float


@dataclass
class Result:
    """Everything that an update computes."""

    next_actions: np.ndarray
    target: np.ndarray
    critic_loss: float
    actor_loss: float
    updated: Arrays = field(default_factory=dict)
    gradients: Arrays = field(default_factory=dict)


def windows(rows: Arrays, starts: np.ndarray, settings: Settings) -> Arrays:
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
    one_step = Network(weights, "one_step") if not settings.candidates else None

    # The target
    if one_step is not None:
        raw = one_step(np.concatenate([batch["next"], noise["target"]], 1))
        next_actions = np.clip(raw, -1, 1)
    else:
        chosen = []
        for b in range(size):
            state = np.repeat(batch["next"][b : b + 1], settings.candidates, 0)
            options = flow(velocity, state, noise["target"][b], settings.flow_steps)
            liked = sum(q(np.concatenate([state, options], 1)) for q in critics)
            chosen.append(options[int(np.argmax(liked))])
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
        # A network of its own for sampling: its tape must not be the regression's.
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

    # Adam's first step on everything, then the target from the critics as they were
    result = Result(next_actions, target, float(critic_loss), float(actor_loss))
    learned = {"flow.mlp": [velocity], "critic": critics}
    if one_step is not None:
        learned["one_step"] = [one_step]
    for prefix, networks in learned.items():
        for name in networks[0].values:
            stack = np.stack if prefix == "critic" else (lambda parts: parts[0])
            gradient = stack([network.gradients[name] for network in networks])
            value = stack([network.values[name] for network in networks])
            step = gradient / (np.abs(gradient) + EPSILON_OF_ADAM)
            result.gradients[f"{prefix}.{name}"] = gradient
            result.updated[f"{prefix}.{name}"] = value - settings.learning_rate * step
    for name in critics[0].values:
        old = weights[f"target_critic.{name}"]
        result.updated[f"target_critic.{name}"] = old + settings.tau * (
            weights[f"critic.{name}"] - old
        )
    return result
