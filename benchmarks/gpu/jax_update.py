"""The QC-FQL update in JAX, written from the paper's equations: what the product is compared with.

One jitted function samples windows from a replay on the device, draws the noise, and updates all
networks; its state is donated. Arithmetic is the product's: float32 products in full precision,
or bfloat16 between hidden layers.

Shapes: B batch, K critics, O observation, L flattened chunk, H steps of the chunk.
"""
# pyright: reportMissingImports=false

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = Any
Tree = Any
_EPSILON = 1e-6
_BETA_1, _BETA_2, _ADAM_EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True, slots=True)
class Settings:
    """Constants of the update."""

    alpha: float = 300.0
    discount: float = 0.99
    tau: float = 0.005
    learning_rate: float = 3e-4
    flow_steps: int = 10
    horizon: int = 5
    batch: int = 256
    bfloat16: bool = False


def initial_state(networks: Tree, seed: int = 0) -> Tree:
    """The state of training for networks as `jax_inputs.network_arrays` gives them."""
    networks = jax.tree.map(jnp.array, networks)
    target = networks.pop("target_critic")
    zeros = jax.tree.map(jnp.zeros_like, networks)
    return {
        "networks": networks,
        "target_critic": target,
        "first": zeros,
        "second": jax.tree.map(jnp.copy, zeros),
        "step": jnp.zeros((), jnp.int32),
        "key": jax.random.key(seed),
    }


def update(state: Tree, batch: dict[str, Array], settings: Settings) -> tuple[Tree, Tree]:
    """One update from given windows and noise: the new state and the losses."""
    with jax.default_matmul_precision("highest"):
        return _update(state, batch, settings)


def sampled_update(state: Tree, replay: dict[str, Array], settings: Settings) -> tuple[Tree, Tree]:
    """One update whose windows and noise are drawn on the device."""
    key, start_key, *noise_keys = jax.random.split(state["key"], 6)
    size = len(replay["rewards"])
    start_B = jax.random.randint(start_key, (settings.batch,), 0, size - settings.horizon + 1)
    batch = gather(replay, start_B, settings)
    chunk = (settings.batch, batch["actions"].shape[1])
    batch["target_noise"] = jax.random.normal(noise_keys[0], chunk)
    batch["flow_noise"] = jax.random.normal(noise_keys[1], chunk)
    batch["distillation_noise"] = jax.random.normal(noise_keys[2], chunk)
    batch["flow_time"] = jax.random.uniform(noise_keys[3], (settings.batch, 1))
    return update({**state, "key": key}, batch, settings)


def compiled(settings: Settings, updates: int = 1) -> Any:
    """A jitted function of state and replay that runs so many updates and donates the state."""

    def run(state: Tree, replay: Tree) -> tuple[Tree, Tree]:
        if updates == 1:
            return sampled_update(state, replay, settings)
        state, losses = jax.lax.scan(
            lambda state, _: sampled_update(state, replay, settings), state, length=updates
        )
        return state, jax.tree.map(lambda values: values[-1], losses)

    return jax.jit(run, donate_argnums=0)


def gather(replay: dict[str, Array], start_B: Array, settings: Settings) -> dict[str, Array]:
    """Windows of consecutive transitions; those that end early do not train the critic."""
    index_BH = start_B[:, None] + jnp.arange(settings.horizon)
    ended_BH = jax.lax.cummax(replay["terminals"][index_BH], axis=1)
    valid_BH = jnp.concatenate([jnp.ones_like(ended_BH[:, :1]), 1 - ended_BH[:, :-1]], axis=1)
    discounts_H = settings.discount ** jnp.arange(settings.horizon, dtype=jnp.float32)
    row_B = replay["observation_index"][start_B]
    last_B = replay["observation_index"][index_BH[:, -1]]
    return {
        "observations": replay["observations"][row_B],
        "next_observations": replay["observations"][last_B + 1],
        "actions": replay["actions"][index_BH].reshape(len(start_B), -1),
        "returns": (replay["rewards"][index_BH] * discounts_H).sum(axis=1),
        "bootstrap": replay["masks"][index_BH].min(axis=1) * settings.discount**settings.horizon,
        "valid": valid_BH,
        "weight": valid_BH[:, -1],
    }


def _update(state: Tree, batch: dict[str, Array], settings: Settings) -> tuple[Tree, Tree]:
    networks = state["networks"]
    loss = partial(_loss, state["target_critic"], batch, settings)
    gradients, losses = jax.grad(loss, has_aux=True)(networks)
    step = state["step"] + 1
    first = jax.tree.map(lambda m, g: _BETA_1 * m + (1 - _BETA_1) * g, state["first"], gradients)
    second = jax.tree.map(
        lambda v, g: _BETA_2 * v + (1 - _BETA_2) * g * g, state["second"], gradients
    )
    rate = settings.learning_rate / (1 - _BETA_1**step)
    root = jnp.sqrt(1 - _BETA_2**step)
    # The target follows the critic as it was before this step.
    target = jax.tree.map(
        lambda t, c: t + settings.tau * (c - t), state["target_critic"], networks["critic"]
    )
    moved = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + _ADAM_EPSILON),
        networks,
        first,
        second,
    )
    new = {"networks": moved, "target_critic": target, "first": first, "second": second}
    return {**state, **new, "step": step}, losses


def _loss(
    target_critic: Tree, batch: dict[str, Array], settings: Settings, networks: Tree
) -> tuple[Array, Tree]:
    """The sum of all losses; no gradient reaches a critic from the actor's."""
    mlp = partial(_mlp, bfloat16=settings.bfloat16)
    observations, actions = batch["observations"], batch["actions"]

    def one_step(observation_BO: Array, noise_BL: Array) -> Array:
        return mlp(networks["one_step"], jnp.concatenate([observation_BO, noise_BL], axis=1))

    def values(critic: Tree, observation_BO: Array, actions_BL: Array) -> Array:
        inputs = jnp.concatenate([observation_BO, actions_BL], axis=1)
        return jax.vmap(mlp, in_axes=(0, None))(critic, inputs)[..., 0]

    next_actions = jnp.clip(one_step(batch["next_observations"], batch["target_noise"]), -1, 1)
    next_values_KB = values(target_critic, batch["next_observations"], next_actions)
    target_B = jax.lax.stop_gradient(
        batch["returns"] + batch["bootstrap"] * next_values_KB.mean(axis=0)
    )
    values_KB = values(networks["critic"], observations, actions)
    critic_loss = ((values_KB - target_B) ** 2 * batch["weight"]).mean()

    time_B1 = batch["flow_time"]
    x_BL = (1 - time_B1) * batch["flow_noise"] + time_B1 * actions
    velocity_BL = mlp(networks["flow"], jnp.concatenate([observations, x_BL, time_B1], axis=1))
    error_BL = (velocity_BL - (actions - batch["flow_noise"])) ** 2
    error_BHA = error_BL.reshape(*batch["valid"].shape, -1)
    cloning = (error_BHA * batch["valid"][..., None]).mean()

    flow_BL = jax.lax.stop_gradient(
        _integrate(networks["flow"], observations, batch["distillation_noise"], settings)
    )
    one_step_BL = one_step(observations, batch["distillation_noise"])
    distillation = ((one_step_BL - flow_BL) ** 2).mean()
    fixed_critic = jax.lax.stop_gradient(networks["critic"])
    value = -values(fixed_critic, observations, jnp.clip(one_step_BL, -1, 1)).mean()
    actor_loss = cloning + settings.alpha * distillation + value
    return critic_loss + actor_loss, {"critic/loss": critic_loss, "actor/loss": actor_loss}


def _integrate(network: Tree, observation_BO: Array, noise_BL: Array, settings: Settings) -> Array:
    """Euler steps of the flow; the observation's part of the first layer is computed once."""
    weight = network["weights"][0]
    size = observation_BO.shape[1]
    fixed_BW = observation_BO @ weight[:, :size].T + network["biases"][0]
    x_BL = noise_BL
    for i in range(settings.flow_steps):
        offset_BW = fixed_BW + weight[:, -1] * (i / settings.flow_steps)
        product_BW = x_BL @ weight[:, size:-1].T + offset_BW
        velocity_BL = _after_first(network, product_BW, bfloat16=settings.bfloat16)
        x_BL = x_BL + velocity_BL / settings.flow_steps
    return jnp.clip(x_BL, -1, 1)


def _mlp(network: Tree, x_BI: Array, *, bfloat16: bool) -> Array:
    product_BW = x_BI @ network["weights"][0].T + network["biases"][0]
    return _after_first(network, product_BW, bfloat16=bfloat16)


def _after_first(network: Tree, product_BW: Array, *, bfloat16: bool) -> Array:
    """What follows the first dense layer: GELU, LayerNorm if there is one, further layers."""
    hidden = jnp.bfloat16 if bfloat16 else jnp.float32
    last = len(network["weights"]) - 1
    x_BW = _activate(network, product_BW, 0)
    for layer in range(1, last):
        weight = network["weights"][layer].astype(hidden)
        bias = network["biases"][layer].astype(hidden)
        x_BW = _activate(network, x_BW.astype(hidden) @ weight.T + bias, layer)
    x_BW = x_BW.astype(jnp.float32)
    return x_BW @ network["weights"][last].T + network["biases"][last]


def _activate(network: Tree, x_BW: Array, layer: int) -> Array:
    x_BW = jax.nn.gelu(x_BW, approximate=True)
    if not network["scales"]:
        return x_BW
    wide_BW = x_BW.astype(jnp.float32)
    mean_B1 = wide_BW.mean(axis=-1, keepdims=True)
    variance_B1 = wide_BW.var(axis=-1, keepdims=True)
    normal_BW = (wide_BW - mean_B1) * jax.lax.rsqrt(variance_B1 + _EPSILON)
    scaled_BW = normal_BW * network["scales"][layer] + network["shifts"][layer]
    return scaled_BW.astype(x_BW.dtype)


def as_arrays(tree: Tree) -> Tree:
    """Copies on the host."""
    return jax.tree.map(np.asarray, tree)
