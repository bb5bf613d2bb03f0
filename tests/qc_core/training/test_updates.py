"""However updates are repeated, as many are done as were asked for."""

import pytest
import torch

from qc_core.agents.agent import Info
from qc_core.training.updates import CalledUpdates, RecordedUpdates, repeat


class Counter:
    """An update that counts itself."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> Info:
        self.done += 1
        return {"done": torch.tensor(self.done)}


class Recorder(RecordedUpdates):
    """Plays its recordings here, where there is no GPU to record on."""

    def _call(self) -> Info:
        return self._update()

    def _record(self, size: int):
        recorder = self

        class Graph:
            def replay(self) -> None:
                for _ in range(size):
                    recorder._update()

        return Graph(), {"size": torch.tensor(size)}


def test_a_cpu_calls_them_one_by_one() -> None:
    counter = Counter()
    updates = repeat(counter, torch.Generator())
    assert isinstance(updates, CalledUpdates) and updates.stride == 1
    assert updates.run(3)["done"] == counter.done == 3


@pytest.mark.parametrize("counts", [(1, 1, 1, 1), (2, 40), (3, 16, 15), (100,)])
def test_recordings_add_up(counts: tuple[int, ...]) -> None:
    counter = Counter()
    updates = Recorder(counter, torch.Generator())
    for number, count in enumerate(counts, 1):
        updates.run(count)
        assert counter.done == sum(counts[:number])


def test_the_first_updates_are_not_recorded_and_many_share_a_recording() -> None:
    updates = Recorder(Counter(), torch.Generator())
    assert "done" in updates.run(3)
    assert updates.run(updates.stride * 2)["size"] == updates.stride
    assert updates.run(updates.stride + 1)["size"] == 1
