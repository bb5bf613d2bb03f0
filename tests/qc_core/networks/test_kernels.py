"""The fast path computes the same networks as the plain layers, values and gradients."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from qc_core.agents.make import make_agent
from qc_core.config.settings import train_config
from qc_core.errors import UsageError
from qc_core.networks import kernels
from qc_core.networks.condition import condition
from qc_core.networks.fast_layers import FastLayers
from qc_core.networks.kernels import (
    CPU_BFLOAT16,
    CPU_FLOAT32,
    CUDA_BFLOAT16,
    CUDA_FLOAT32,
    PLAIN,
    Kernels,
    choose,
    in_parts,
    using,
)
from qc_core.networks.layers import Activation, Layers, Norm
from qc_core.networks.mlp import MLP
from qc_core.networks.quick_gelu import quick_gelu

CPU = torch.device("cpu")
# Relative rounding error of bfloat16.
ROUNDING = 2.0**-8
LAYERS: list[tuple[Activation, Norm, int | None]] = [
    ("gelu", "none", None),
    ("gelu", "before", None),
    ("gelu", "after", 2),
    ("relu", "before", 3),
    ("gelu", "after", 1),
]
KINDS = [
    (CPU_FLOAT32, 1e-5),
    (CPU_BFLOAT16, 16 * ROUNDING),
    (CUDA_FLOAT32, 1e-5),
    (CUDA_BFLOAT16, 16 * ROUNDING),
    # The kernels that this machine chooses.
    (choose(CPU, "auto"), 16 * ROUNDING),
]


def network(activation: Activation, norm: Norm, members: int | None) -> MLP:
    torch.manual_seed(0)
    made = MLP(6, (32, 32, 32), 2, activation=activation, norm=norm, members=members)
    for parameter in (*made.biases, *made.shifts):
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def outputs_and_gradients(made: MLP, x: Tensor, chosen: Kernels) -> list[Tensor]:
    """The outputs without and with gradients, and the gradients of the input and all parameters."""
    leaf = x.clone().requires_grad_()
    with using(chosen):
        with torch.no_grad():
            without = made(x)
        outputs = made(leaf)
    gradients = torch.autograd.grad((outputs**2).mean(), [leaf, *made.parameters()])
    return [without, outputs.detach(), *gradients]


@pytest.mark.parametrize(("activation", "norm", "members"), LAYERS)
@pytest.mark.parametrize(("chosen", "tolerance"), KINDS, ids=lambda k: getattr(k, "name", ""))
def test_outputs_and_gradients_equal_the_plain_layers(
    chosen: Kernels, tolerance: float, activation: Activation, norm: Norm, members: int | None
) -> None:
    made, x = network(activation, norm, members), torch.randn(64, 6)
    expected = outputs_and_gradients(made, x, PLAIN)
    got = outputs_and_gradients(made, x, chosen)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() <= tolerance * theirs.norm()


def test_bfloat16_is_only_between_hidden_layers() -> None:
    """Inputs and outputs that differ by less than bfloat16 can represent stay different."""
    made = network("gelu", "none", None)
    with torch.no_grad():
        made.biases[-1].fill_(1000.0)
    x = torch.randn(1, 6).repeat(2, 1)
    x[1] += 1e-4
    with using(CPU_BFLOAT16), torch.no_grad():
        outputs = made(x)
        hidden = functional.linear(x, made.weights[0], made.biases[0])
    assert not torch.equal(hidden[0], hidden[1])
    # At 1000, neighbouring bfloat16 numbers differ by 4.
    assert ((outputs - 1000) != 0).all() and (outputs - 1000).abs().max() < 4


def test_on_a_cpu_bfloat16_starts_after_the_first_activation() -> None:
    made, x = network("gelu", "none", None), torch.randn(64, 6)
    weights, biases = made.weights, made.biases
    with torch.no_grad():
        hidden = quick_gelu(functional.linear(x, weights[0], biases[0]))
        for layer in (1, 2):
            converted = [values[layer].bfloat16() for values in (weights, biases)]
            hidden = quick_gelu(functional.linear(hidden.bfloat16(), *converted))
        expected = functional.linear(hidden.float(), weights[3], biases[3])
        with using(CPU_BFLOAT16):
            assert torch.equal(made(x), expected)


@pytest.mark.parametrize("chosen", [CPU_BFLOAT16, CUDA_FLOAT32, CUDA_BFLOAT16])
def test_a_network_without_hidden_layers_is_linear(chosen: Kernels) -> None:
    made, fixed, samples = MLP(6, (), 2), torch.randn(5, 4), torch.randn(5, 7, 2)
    inputs = torch.cat([fixed[:, None].expand(-1, 7, -1), samples], dim=-1)
    with torch.no_grad(), using(chosen):
        (layers,) = made.layers()
        expected = functional.linear(inputs, made.weights[0], made.biases[0])
        torch.testing.assert_close(condition(layers, fixed)(samples), expected)


def test_bfloat16_differs_from_float32() -> None:
    made, x = network("gelu", "none", None), torch.randn(64, 6)
    plain, rounded = (outputs_and_gradients(made, x, chosen) for chosen in (PLAIN, CPU_BFLOAT16))
    assert all((a - b).norm() > 1e-4 * b.norm() for a, b in zip(rounded, plain, strict=True))


@pytest.mark.parametrize(
    "kernels",
    [*(Kernels("in parts", rows=rows) for rows in (1, 7, 10_000)), Kernels("gpu", parts=4)],
    ids=["one row", "7 rows", "all rows", "side by side"],
)
def test_samples_in_parts_equal_all_samples_at_once(kernels: Kernels) -> None:
    agent = make_agent(4, 2, train_config("qc", hidden_dims=(16, 16), num_samples=3))
    observation, noise = torch.randn(10, 4), torch.randn(10, *agent.noise_shape)
    with torch.no_grad():
        expected = agent.choose(observation, noise)
        with using(kernels):
            torch.testing.assert_close(agent.choose(observation, noise), expected)


def test_one_stream_computes_the_same_parts_as_several() -> None:
    """Products of other sizes would round differently."""

    def rows(chosen: Kernels) -> list[int]:
        found: list[int] = []

        def function(batch: Tensor) -> Tensor:
            found.append(len(batch))
            return batch

        with torch.no_grad(), using(chosen):
            in_parts(function, torch.zeros(10, 1), rows_each=32)
        return found

    assert rows(CUDA_FLOAT32) == rows(replace(CUDA_FLOAT32, streams=False)) == [3, 3, 3, 1]


def test_layers_are_plain_outside_the_block_and_after_a_failure() -> None:
    made = network("gelu", "after", 2)

    def kinds() -> set[type[Layers]]:
        return {type(layers) for layers in made.layers()}

    with pytest.raises(ZeroDivisionError), using(CPU_FLOAT32):
        assert kernels.current() is CPU_FLOAT32
        assert kinds() == {FastLayers}
        raise ZeroDivisionError
    assert kernels.current() is PLAIN
    assert kinds() == {Layers}


def test_requested_precision_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert choose(CPU, "float32") is CPU_FLOAT32
    assert choose(CPU, "bfloat16") is choose(CPU, "auto") is CPU_BFLOAT16


def test_bfloat16_is_refused_where_the_processor_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert choose(CPU, "auto") is CPU_FLOAT32
    with pytest.raises(UsageError, match=r"--train\.precision bfloat16 .*; use auto or float32"):
        choose(CPU, "bfloat16")


@pytest.mark.parametrize("members", [1, 3])
def test_an_ensemble_computed_at_once_agrees_for_any_number_of_samples(members: int) -> None:
    made = network("gelu", "after", members)
    fixed, samples = torch.randn(5, 4), torch.randn(5, 7, 2)

    def values() -> Tensor:
        return made.join([condition(layers, fixed)(samples) for layers in made.layers()])

    with torch.no_grad():
        expected = values()
        with using(CUDA_FLOAT32):
            assert len(made.layers()) == 1
            torch.testing.assert_close(values(), expected)
    assert expected.shape == (members, 5, 7, 2)


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), CUDA_FLOAT32), ((8, 0), CUDA_BFLOAT16)]
)
def test_gpus_use_bfloat16_from_compute_capability_8(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: Kernels
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose(torch.device("cuda"), "auto") is expected
    assert choose(torch.device("cuda"), "float32") is CUDA_FLOAT32
    if expected is CUDA_FLOAT32:
        with pytest.raises(UsageError, match=r"compute capability 8\.0"):
            choose(torch.device("cuda"), "bfloat16")


def test_a_batch_of_unknown_size_is_computed_in_one_part() -> None:
    """An export traces any size, and must not ask for the length."""

    class Batch(torch.Tensor):
        def __len__(self) -> int:
            raise AssertionError("the length is unknown")

    batch = torch.zeros(3, 2).as_subclass(Batch)
    with torch.no_grad(), using(PLAIN):
        assert in_parts(lambda rows: rows, batch, rows_each=1) is batch
