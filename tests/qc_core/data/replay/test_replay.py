"""Offline transitions, and a replay buffer that grows, overwrites and can be restored."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from qc_core.config.settings import Config, DataConfig, TrainConfig
from qc_core.data.dataset.dataset import DatasetWriter, Episodes, open_dataset
from qc_core.data.replay.replay import ActionBounds, OfflineData, Replay
from qc_core.data.replay.windows import gather_windows
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec

CPU = torch.device("cpu")


def offline_data(folder: Path, **options) -> OfflineData:
    return OfflineData(open_dataset(folder), CPU, DataConfig(**options))


def buffer(capacity: int, offline: OfflineData | None = None, **options) -> Replay:
    """A buffer of 28 observation and 5 action numbers."""
    bounds = ActionBounds([-1.0] * 5, [1.0] * 5, CPU)
    return Replay(capacity, 28, bounds, CPU, Config(train=TrainConfig(**options)), offline)


def add(replay: Replay, value: float, *, terminated: bool = False, ended: bool = False) -> None:
    """A transition that can be told by its reward."""
    observation = np.full(28, value, np.float32)
    replay.add(
        observation, np.zeros(5), value, observation + 0.5, terminated=terminated, ended=ended
    )


def test_the_buffer_contains_offline_then_online_transitions(dataset: Path) -> None:
    offline = offline_data(dataset)
    replay = buffer(offline.size + 1, offline)
    every = torch.arange(offline.size)
    assert torch.equal(replay.observations_at(every), offline.observations_at(every))
    assert torch.equal(replay.next_observations_at(every), offline.next_observations_at(every))
    assert torch.equal(replay.terminals[: offline.size], offline.terminals)

    add(replay, 1.0, ended=True)
    last = torch.tensor([offline.size])
    assert replay.size == offline.size + 1
    assert (replay.observations_at(last) == 1).all()
    assert (replay.next_observations_at(last) == 1.5).all()
    assert (replay.rewards[last], replay.masks[last], replay.terminals[last]) == (1, 1, 1)


def test_a_full_buffer_overwrites_offline_transitions_first(dataset: Path) -> None:
    offline = offline_data(dataset)
    replay = buffer(offline.size + 2, offline)
    for value in (100.0, 101.0, 102.0):
        add(replay, value)
    assert replay.rewards[[0, offline.size, offline.size + 1]].tolist() == [102, 100, 101]
    # The window runs from the new row into an old episode as if that were what followed.
    windows = gather_windows(replay, torch.tensor([0]), backup_steps=2, discount=1.0)
    assert windows.weight_B.item() == 1
    assert windows.returns_B.item() == pytest.approx(102 + float(offline.rewards[1]))


def test_a_full_buffer_can_overwrite_online_transitions_and_mark_the_boundary(
    dataset: Path,
) -> None:
    offline = offline_data(dataset)
    size = offline.size
    replay = buffer(size + 4, offline, replay_overwrites="online")
    for value in range(100, 106):
        add(replay, float(value))
    assert torch.equal(replay.rewards[:size], offline.rewards)
    assert replay.rewards[size:].tolist() == [104, 105, 102, 103]
    # 105 is followed by 102, an older row: the window ends with 105.
    assert replay.terminals[size:].tolist() == [0, 1, 0, 0]
    windows = gather_windows(replay, torch.tensor([size + 1, size]), backup_steps=2, discount=1.0)
    assert windows.weight_B.tolist() == [0, 1]
    # The next row written moves the mark.
    add(replay, 106.0)
    assert replay.terminals[size:].tolist() == [0, 0, 1, 0]
    add(replay, 107.0, ended=True)
    add(replay, 108.0)
    assert replay.terminals[size:].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("overwrites", ["oldest", "online"])
@pytest.mark.parametrize("added", [3, 9])
def test_a_restored_buffer_continues_identically(
    dataset: Path, overwrites: str, added: int
) -> None:
    offline = offline_data(dataset)

    def made() -> Replay:
        return buffer(offline.size + 5, offline, replay_overwrites=overwrites)

    first, second = made(), made()
    for value in range(added):
        add(first, float(value), ended=value % 4 == 3)
    first.end_episodes()
    second.restore(first.state())
    for replay in (first, second):
        add(replay, 50.0)
    assert (second.size, torch.equal(second.rewards, first.rewards)) == (first.size, True)
    assert torch.equal(second.terminals, first.terminals)
    every = torch.arange(first.size)
    assert torch.equal(second.next_observations_at(every), first.next_observations_at(every))


def test_a_buffer_without_offline_data_starts_empty() -> None:
    replay = buffer(3)
    assert replay.size == 0
    for value in range(4):
        add(replay, float(value))
    assert replay.rewards.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("transform", "expected"),
    [("none", [-3.0, -1, 0, -5]), ("sparse", [-1.0, -1, 0, -1]), ("minus-one", [-4.0, -2, -1, -6])],
)
def test_rewards_are_transformed_equally_offline_and_online(
    tmp_path: Path, spec: EnvironmentSpec, transform: str, expected: list[float]
) -> None:
    folder = solved_on_the_way(tmp_path, spec)
    offline = offline_data(folder, reward_transform=transform)
    assert offline.rewards.tolist() == expected
    config = Config(data=DataConfig(reward_transform=transform))  # pyright: ignore
    replay = Replay(4, 28, ActionBounds([-1.0] * 5, [1.0] * 5, CPU), CPU, config)
    for reward in (-3.0, -1.0, 0.0, -5.0):
        add(replay, reward)
    assert replay.rewards.tolist() == expected


def test_rewards_after_a_success_count_unless_it_ends_the_episode(
    tmp_path: Path, spec: EnvironmentSpec
) -> None:
    """Relabelled episodes go on behind a solved state, and rewards fall again there."""
    folder = solved_on_the_way(tmp_path, spec)
    start = torch.tensor([2])

    def window(handling: str):
        data = offline_data(folder, success_handling=handling)
        return gather_windows(data, start, backup_steps=2, discount=1.0, terminal_handling="keep")

    assert window("continue").returns_B.item() == -5
    assert window("end").returns_B.item() == 0
    assert offline_data(folder, success_handling="end").terminals.tolist() == [0, 0, 1, 1]
    assert offline_data(folder).terminals.tolist() == [0, 0, 0, 1]


def test_actions_are_scaled_from_their_bounds(tmp_path: Path, spec: EnvironmentSpec) -> None:
    wide = msgspec.structs.replace(spec, action_low=(0.0,) * 5, action_high=(10.0,) * 5)
    data = offline_data(solved_on_the_way(tmp_path, wide))
    limit = 1 - 1e-5
    assert data.actions[:, 0].tolist() == pytest.approx([-limit, -0.5, 0.5, limit])


def test_scaling_one_action_equals_scaling_a_batch() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.uniform(-3, 0, 5), rng.uniform(0, 3, 5)
    bounds = ActionBounds(low.tolist(), high.tolist(), CPU)
    actions = rng.uniform(-4, 4, (500, 5)).astype(np.float32)
    one_by_one = np.stack([bounds.normalize_one(action) for action in actions])
    np.testing.assert_array_equal(one_by_one, bounds.normalize(torch.from_numpy(actions)))


def test_a_constant_action_has_scale_one() -> None:
    bounds = ActionBounds([2.0], [2.0], CPU)
    assert bounds.normalize(torch.tensor([[2.0]])).tolist() == [[0.0]]


def solved_on_the_way(folder: Path, spec: EnvironmentSpec) -> Path:
    """One episode of four transitions, the third one solved, actions from 0 to 10."""
    writer = DatasetWriter(folder / "d", spec)
    writer.append(
        Episodes(
            observations=np.zeros((5, 28), np.float32),
            actions=np.repeat(np.array([[0], [2.5], [7.5], [10]], np.float32), 5, axis=1),
            rewards=np.array([-3, -1, 0, -5], np.float32),
            masks=np.array([1, 1, 0, 1], np.float32),
            terminals=np.array([0, 0, 0, 1], np.float32),
        )
    )
    writer.finish(DataSource())
    return folder / "d"


def rows_of_windows(replay: Replay, horizon: int) -> dict[int, list[int]]:
    """By start, the rows of every window that can be drawn."""
    starts = torch.arange(replay.window_count(horizon))
    return dict(zip(starts.tolist(), replay.window_indices(starts, horizon).tolist(), strict=True))


def test_a_window_contains_one_environment_of_several(dataset: Path) -> None:
    offline = offline_data(dataset)
    size = offline.size
    replay = buffer(size + 9, offline, num_envs=3)
    for value in range(8):
        add(replay, float(value))
    windows = rows_of_windows(replay, 3)
    online = {start: rows for start, rows in windows.items() if start >= size}
    # Up to the last whole one, and none that runs out of what is there.
    assert online == {size: [size, size + 3, size + 6], size + 1: [size + 1, size + 4, size + 7]}
    assert all(windows[start] == [start, start + 1, start + 2] for start in range(size))
    add(replay, 8.0)
    assert rows_of_windows(replay, 3)[size + 2] == [size + 2, size + 5, size + 8]
    assert replay.size == size + 9


def test_environments_stay_separate_in_a_full_buffer(dataset: Path) -> None:
    offline = offline_data(dataset)
    size = offline.size
    replay = buffer(size + 4, offline, num_envs=2)
    for value in range(4 + 3):
        add(replay, float(value))
    windows = rows_of_windows(replay, 2)
    # Three online rows have replaced offline ones. The rows after them are unchanged.
    assert [windows[start] for start in range(5)] == [[0, 2], [1, 3], [2, 4], [3, 4], [4, 5]]
    assert windows[size + 1] == [size + 1, size + 3]
    for value in range(size + 4):
        add(replay, float(value))
    assert all(rows == [start, start + 2] for start, rows in rows_of_windows(replay, 2).items())


def test_each_of_several_environments_has_an_episode_boundary(dataset: Path) -> None:
    offline = offline_data(dataset)
    size = offline.size
    replay = buffer(size + 6, offline, num_envs=2, replay_overwrites="online")
    for value in range(100, 109):
        add(replay, float(value))
    assert replay.rewards[size:].tolist() == [106, 107, 108, 103, 104, 105]
    # 107 and 108 are the last of their environments; two rows further stand older ones.
    assert replay.terminals[size:].tolist() == [0, 1, 1, 0, 0, 0]
    add(replay, 109.0, ended=True)
    assert replay.terminals[size:].tolist() == [0, 0, 1, 1, 0, 0]
    replay.end_episodes()
    add(replay, 110.0)
    add(replay, 111.0)
    assert replay.terminals[size:].tolist() == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("overwrites", ["oldest", "online"])
@pytest.mark.parametrize("added", [1, 3, 9, 170])
def test_a_restored_buffer_of_several_environments_continues_identically(
    dataset: Path, overwrites: str, added: int
) -> None:
    offline = offline_data(dataset)

    def made() -> Replay:
        return buffer(offline.size + 5, offline, num_envs=2, replay_overwrites=overwrites)

    first, second = made(), made()
    for value in range(added):
        add(first, float(value), ended=value % 4 == 3)
    second.restore(first.state())
    for replay in (first, second):
        replay.end_episodes()
        add(replay, 50.0)
    assert torch.equal(second.terminals, first.terminals)
    assert torch.equal(second.rewards, first.rewards)
    assert rows_of_windows(second, 3) == rows_of_windows(first, 3)
