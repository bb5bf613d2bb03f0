"""The JAX update that benchmarks compare with computes the same as the product's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu import jax_inputs, product

jax = pytest.importorskip("jax")
jax_update = pytest.importorskip("benchmarks.gpu.jax_update")

_NETWORK, _BATCH, _UPDATES = (32, 32, 32), 16, 3
# float32 sums in another order: relative to the size of each number.
_LOSS_TOLERANCE = 1e-5
# Adam divides gradients by their own size, so rounding of a gradient near zero shows; all other
# weights agree to 1e-6, and none moves by more than the learning rate allows.
_WEIGHT_TOLERANCE, _WEIGHT_SHARE = 1e-6, 0.999
_BFLOAT16_LOSS_TOLERANCE = 0.02


@pytest.mark.parametrize("kind", [product.FLOAT32, product.BFLOAT16])
def test_jax_and_torch_make_the_same_updates(kind: str) -> None:
    settings = product.config("qc-fql", _NETWORK, _BATCH)
    device = torch.device("cpu")
    agent = product.new_agent(settings, device)
    product.use_kernels(agent, device, product.EAGER if kind == product.FLOAT32 else kind)
    constants = jax_update.Settings(batch=_BATCH, bfloat16=kind == product.BFLOAT16)
    state = jax_update.initial_state(jax_inputs.network_arrays(agent))
    update = jax.jit(jax_update.update, static_argnums=2)
    for seed in range(_UPDATES):
        windows, noise = product.random_batch(agent, settings, seed)
        batch = jax_inputs.batch_arrays(agent, windows, noise)
        info = agent.update(windows, noise)
        state, losses = update(state, batch, constants)
        for name, loss in losses.items():
            tolerance = _LOSS_TOLERANCE if kind == product.FLOAT32 else _BFLOAT16_LOSS_TOLERANCE
            assert float(loss) == pytest.approx(float(info[name]), rel=tolerance)
    expected = jax_inputs.network_arrays(agent)
    found = jax_update.as_arrays({**state["networks"], "target_critic": state["target_critic"]})
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    differences = np.concatenate([np.abs(a - b).ravel() for a, b in pairs])
    assert differences.max() <= 2.1 * _UPDATES * settings.train.learning_rate
    if kind == product.FLOAT32:
        assert (differences <= _WEIGHT_TOLERANCE).mean() >= _WEIGHT_SHARE


def test_jax_gathers_the_same_windows(tmp_path: Path) -> None:
    settings = product.config("qc-fql", _NETWORK, _BATCH)
    dataset = product.random_dataset(tmp_path / "data", 2_000)
    starts = np.array([0, 10, 996, 999, 1_500])
    replay = jax_inputs.replay_arrays(dataset, settings)
    found = jax_update.gather(replay, jax.numpy.asarray(starts), jax_update.Settings())
    expected = jax_inputs.windows_at(dataset, settings, starts)
    pairs = {
        "observations": expected.observations_BO,
        "next_observations": expected.next_observations_BO,
        "actions": expected.actions_BHA.flatten(1),
        "returns": expected.returns_B,
        "bootstrap": expected.bootstrap_B,
        "valid": expected.valid_BH,
        "weight": expected.weight_B,
    }
    for name, tensor in pairs.items():
        np.testing.assert_allclose(found[name], tensor.numpy(), rtol=1e-6, atol=1e-6)


def test_sampled_updates_run_one_by_one_and_scanned(tmp_path: Path) -> None:
    settings = product.config("qc-fql", (16, 16), _BATCH)
    dataset = product.random_dataset(tmp_path / "data", 2_000)
    networks = jax_inputs.network_arrays(product.new_agent(settings, torch.device("cpu")))
    replay = {
        name: jax.numpy.asarray(values)
        for name, values in jax_inputs.replay_arrays(dataset, settings).items()
    }
    # Fewer steps of the flow compile sooner.
    constants = jax_update.Settings(batch=_BATCH, flow_steps=2)
    one, scanned = jax_update.initial_state(networks), jax_update.initial_state(networks)
    step = jax_update.compiled(constants)
    losses: dict[str, Any] = {}
    for _ in range(4):
        one, losses = step(one, replay)
    scanned, last = jax_update.compiled(constants, 4)(scanned, replay)
    assert int(scanned["step"]) == 4
    assert float(last["critic/loss"]) == pytest.approx(float(losses["critic/loss"]), rel=1e-4)
