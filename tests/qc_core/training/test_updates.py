"""Repeated updates run exactly the requested number of updates."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from qc_core.agents.agent import Info
from qc_core.config.methods import METHODS
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.training.offline import OfflineTraining
from qc_core.training.updates import CudaGraphUpdates, EagerUpdates, Updates, repeat
from tests.train_settings import train_with

# Only a GPU has more than one way to repeat updates.
CASES = [("cpu", "qc-fql"), *(("cuda", method) for method in METHODS if torch.cuda.is_available())]


class Counter:
    """An update that counts what it draws and what it learns."""

    def __init__(self) -> None:
        self.drawn = self.done = 0

    def draw(self) -> int:
        self.drawn += 1
        return self.drawn

    def learn(self, batch: int) -> Info:
        self.done += 1
        assert batch == self.done
        return {"done": torch.tensor(self.done)}


class Recorder(CudaGraphUpdates):
    """Replays its graphs on a machine without a GPU."""

    def _call(self) -> Info:
        return self._chain(1)

    def _record(self, size: int):
        recorder = self

        class Graph:
            def replay(self) -> None:
                recorder._chain(size)

        return Graph(), {"size": torch.tensor(size)}


def recorder(counter: Counter) -> Recorder:
    return Recorder(counter.draw, counter.learn, torch.Generator())


def test_a_cpu_calls_updates_one_by_one() -> None:
    counter = Counter()
    updates = repeat(counter.draw, counter.learn, torch.Generator())
    assert isinstance(updates, EagerUpdates) and updates.stride == 1
    assert updates.run(3)["done"] == counter.done == counter.drawn == 3


@pytest.mark.parametrize("counts", [(1, 1, 1, 1), (2, 40), (3, 16, 15), (100,)])
def test_graphs_run_the_requested_number_of_updates(counts: tuple[int, ...]) -> None:
    counter = Counter()
    updates = recorder(counter)
    for number, count in enumerate(counts, 1):
        updates.run(count)
        assert counter.done == counter.drawn == sum(counts[:number])


def test_the_first_updates_are_eager_and_a_graph_contains_many() -> None:
    updates = recorder(Counter())
    assert "done" in updates.run(3)
    assert updates.run(updates.stride * 2)["size"] == updates.stride
    assert updates.run(updates.stride + 1)["size"] == 1


@pytest.mark.parametrize(("device", "method"), CASES)
def test_graphs_give_the_same_result_as_eager_updates(
    config: Config, dataset: Path, device: str, method: str
) -> None:
    """CUDA graphs draw, learn and count as calls do."""
    values = {"num_samples": 4, "precision": "float32", "learning_rate_decay": 0.5}
    values |= METHODS[method].defaults
    train = train_with(method, config.train, **values)

    def ends(make: type[EagerUpdates] | None) -> tuple[dict[str, Tensor], Tensor, float]:
        data = open_dataset(dataset)
        with OfflineTraining(replace(config, train=train), data, torch.device(device)) as training:
            functions = training.draw, training.learn
            updates: Updates = repeat(*functions, training.generator)
            if make is not None:
                updates = make(*functions)
            updates.run(40)
            step = training._step.item()
            return training.agent.state_dict(), training.generator.get_state(), step

    weights, state, step = ends(None)
    called_weights, called_state, called_step = ends(EagerUpdates)
    assert step == called_step == 40
    assert torch.equal(state, called_state)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, called_weights[name], rtol=1e-3, atol=1e-5)
