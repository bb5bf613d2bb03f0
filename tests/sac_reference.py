"""A slow reference of the SAC family in NumPy float64, written from the equations.

Independent of the agents; every gradient is derived by hand.

Shapes: K critics, B batch, L flattened chunk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tests.reference import Arrays, Network, Result, adam_step, lagging_target, windows


@dataclass
class Settings:
    """Constants in the equations.

    Attributes:
        chunk, backup: actions per chunk, steps per backup.
        bc_weight: weight of -log π(data); 0 omits the term.
    """

    chunk: int
    backup: int
    discount: float
    critics: int
    learning_rate: float
    tau: float
    target_entropy: float
    bc_weight: float


class Actor:
    """tanh(mean(s) + exp(log_std(s)) · noise)."""

    def __init__(self, arrays: Arrays) -> None:
        self.trunk = Network(arrays, "actor.trunk", activation="relu")
        self.heads = {name: Network(arrays, f"actor.{name}") for name in ("mean", "log_std")}

    def __call__(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log σ, [B, L] each; records what `backward` needs."""
        self.before = self.trunk(s)
        features = np.maximum(self.before, 0)
        self.raw_log_std = self.heads["log_std"](features)
        return self.heads["mean"](features), np.clip(self.raw_log_std, -20, 2)

    def backward(self, of_mean: np.ndarray, of_log_std: np.ndarray) -> None:
        inside = (self.raw_log_std >= -20) & (self.raw_log_std <= 2)
        of_features = self.heads["mean"].backward(of_mean)
        of_features = of_features + self.heads["log_std"].backward(of_log_std * inside)
        self.trunk.backward(of_features * (self.before > 0))


def log_density(raw: np.ndarray, mean: np.ndarray, log_std: np.ndarray) -> np.ndarray:
    """log π(tanh(raw)), [B]: the normal density divided by the slope of tanh."""
    z = (raw - mean) / np.exp(log_std)
    normal = -(z**2) / 2 - log_std - math.log(2 * math.pi) / 2
    # log(1 - tanh²(u)) = -2 log cosh(u), in a form that stays accurate for large u.
    return (normal - 2 * (math.log(2) - np.logaddexp(raw, -raw))).sum(1)


def update(weights: Arrays, rows: Arrays, starts: np.ndarray, noise: Arrays, settings: Settings):
    """One update of a method of the SAC family."""
    batch = windows(rows, starts, settings)
    s, a, valid = batch["s"], batch["a"], batch["valid"]
    size, count = len(s), settings.critics

    def critic(prefix: str, member: int) -> Network:
        return Network(weights, prefix, member, activation="relu", norm_first=True)

    critics = [critic("critic", k) for k in range(count)]
    targets = [critic("target_critic", k) for k in range(count)]
    actor = Actor(weights)

    # The target
    mean, log_std = actor(batch["next"])
    next_actions = np.tanh(mean + np.exp(log_std) * noise["target"])
    next_input = np.concatenate([batch["next"], next_actions], 1)
    next_value = sum(q(next_input)[:, 0] for q in targets) / count
    bootstrap = settings.discount**settings.backup * batch["mask"]
    target = batch["return"] + bootstrap * next_value

    # The critics
    critic_loss = 0.0
    for q in critics:
        error = q(np.concatenate([s, a], 1))[:, 0] - target
        critic_loss += (error**2 * valid[:, -1]).sum() / (count * size)
        q.backward((2 * error * valid[:, -1] / (count * size))[:, None])

    # The actor
    alpha = math.exp(float(weights["log_temperature"]))
    mean, log_std = actor(s)
    std = np.exp(log_std)
    raw = mean + std * noise["actor"]
    action = np.tanh(raw)
    likelihood = log_density(raw, mean, log_std)
    value, of_action = np.zeros(size), np.zeros_like(action)
    for k in range(count):
        judge = critic("critic", k)
        value += judge(np.concatenate([s, action], 1))[:, 0] / count
        of_action -= judge.backward(np.full((size, 1), 1 / (count * size)))[:, s.shape[1] :]
    actor_loss = (alpha * likelihood - value).mean()
    of_raw = alpha * 2 * action / size + of_action * (1 - action**2)
    of_mean, of_log_std = of_raw, of_raw * std * noise["actor"] - alpha / size

    # The temperature
    entropy = -likelihood.mean()
    actor_loss += alpha * (entropy - settings.target_entropy)
    of_log_temperature = alpha * (entropy - settings.target_entropy)

    # Behaviour cloning
    if settings.bc_weight:
        data_raw = np.arctanh(a)
        z = (data_raw - mean) / std
        actor_loss -= settings.bc_weight * log_density(data_raw, mean, log_std).mean()
        of_mean = of_mean - settings.bc_weight * z / std / size
        of_log_std = of_log_std - settings.bc_weight * (z**2 - 1) / size
    actor.backward(of_mean, of_log_std)

    result = Result(next_actions, target, float(critic_loss), float(actor_loss))
    learned = {
        "critic": critics,
        "actor.trunk": [actor.trunk],
        "actor.mean": [actor.heads["mean"]],
        "actor.log_std": [actor.heads["log_std"]],
    }
    for prefix, networks in learned.items():
        adam_step(result, prefix, networks, settings.learning_rate, stacked=prefix == "critic")
    result.gradients["log_temperature"] = np.array(of_log_temperature)
    result.updated["log_temperature"] = weights[
        "log_temperature"
    ] - settings.learning_rate * np.sign(of_log_temperature)
    lagging_target(result, critics[0], weights, settings.tau)
    return result
