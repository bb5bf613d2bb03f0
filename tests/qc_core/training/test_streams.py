"""On a GPU, parts of an update run at the same time without races."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qc_core.agents.agent import Info
from qc_core.config.methods import METHODS
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.networks.kernels import CUDA_BFLOAT16, CUDA_FLOAT32, Kernels
from qc_core.training.offline import OfflineTraining
from qc_core.training.updates import CudaGraphUpdates
from tests.cuda_streams import GPU, Stream, StreamModel, stream_model
from tests.train_settings import train_with

MODULES = (
    "qc_core.agents.agent",
    "qc_core.agents.critic_agent",
    "qc_core.agents.one_step",
    "qc_core.networks.kernels",
    "qc_core.training.updates",
)
CASES = [(method, CUDA_BFLOAT16) for method in METHODS]
CASES += [(method, CUDA_FLOAT32) for method in ("qc", "qc-fql", "rlpd")]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[StreamModel]:
    with stream_model(monkeypatch, *MODULES) as model:
        yield model


def run_updates(config: Config, dataset: Path, method: str, kernels: Kernels) -> None:
    values = {"num_samples": 4, "hidden_dims": (8, 8, 8), "learning_rate_decay": 0.5}
    train = train_with(method, config.train, **{**values, **METHODS[method].defaults})
    data = open_dataset(dataset)
    with OfflineTraining(replace(config, train=train), data, torch.device("cpu")) as training:
        training.agent.kernels = kernels
        updates = CudaGraphUpdates(training.draw, training.learn, training.generator)
        info = updates._chain(3)
        torch.stack([*info.values(), *training.agent.gradient_norms().values()]).sum()


@pytest.mark.parametrize(("method", "kernels"), CASES, ids=lambda k: getattr(k, "name", k))
def test_updates_have_no_races(
    config: Config, dataset: Path, model: StreamModel, method: str, kernels: Kernels
) -> None:
    run_updates(config, dataset, method, kernels)
    assert model.races == []
    assert len(model.used) > 3


def test_all_methods_together_use_less_than_half_of_the_streams_of_torch(
    config: Config, dataset: Path, model: StreamModel
) -> None:
    """torch hands out 32 streams in turn, so a 33rd would be one that another fork uses.

    A process may run eager updates, too: on the default stream, with as many streams beside it.
    """
    for method in ("qc", "qc-fql", "rlpd"):
        run_updates(config, dataset, method, CUDA_BFLOAT16)
    assert 2 * len(model.used) < 32


def test_networks_do_not_learn_on_the_stream_that_is_recorded(model: StreamModel) -> None:
    """torch frees the workspaces of a recorded stream's products with the first of its graphs."""
    generator: Any = SimpleNamespace(device=GPU)
    drawn_on: set[Stream] = set()
    learned_on: set[Stream] = set()

    def draw() -> None:
        drawn_on.add(model.stream)

    def learn(_: None) -> Info:
        learned_on.add(model.stream)
        return {}

    CudaGraphUpdates(draw, learn, generator).run(2)
    (recorded,), (side,) = drawn_on, learned_on
    assert len({model.stream, recorded, side}) == 3


def test_a_read_that_does_not_wait_is_a_race(model: StreamModel) -> None:
    side, here = Stream(GPU), model.stream
    with model.on(side):
        early, late = torch.ones(2), torch.ones(3)
    early.sum()
    here.wait_stream(side)
    late.sum()
    assert model.races == ["sum does not wait for ones of a tensor [2]"]


def test_a_write_that_does_not_wait_is_a_race(model: StreamModel) -> None:
    x = torch.ones(2)
    x.sum()
    with model.on(Stream(GPU)):
        x.zero_()
    assert model.races == [
        "zero_ does not wait for ones of a tensor [2]",
        "zero_ does not wait for sum of a tensor [2]",
    ]


@pytest.mark.parametrize("waits", [False, True])
def test_memory_that_a_stream_uses_again_before_another_has_read_it_is_a_race(
    model: StreamModel, waits: bool
) -> None:
    side, here = Stream(GPU), model.stream
    with model.on(side):
        x = torch.ones(2)
    here.wait_stream(side)
    x.sum()
    del x
    if waits:
        side.wait_stream(here)
    with model.on(side):
        torch.zeros(2)
    found = ["memory of zeros does not wait for sum of a tensor [2]"]
    assert model.races == ([] if waits else found)


def test_backward_runs_on_the_streams_of_the_forward_pass(model: StreamModel) -> None:
    weights = [torch.ones(2, requires_grad=True) for _ in range(2)]
    functions = [lambda w=w: w * 3 for w in weights]
    first, second = model.side_by_side(functions, GPU)
    (first + second).sum().backward(inputs=weights)
    torch.stack([w.grad for w in weights if w.grad is not None]).sum()
    assert model.races == []
    gradients = [model.stream_of(w.grad) for w in weights if w.grad is not None]
    assert len({*gradients, model.stream}) == 3
