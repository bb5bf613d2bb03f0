"""robomimic's tasks match their datasets; a missing robosuite gives one line."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest

from qc_core.data.describe import describe_source
from qc_core.envs.make import describe, make_environment
from qc_core.envs.robomimic_spec import TASKS
from qc_core.errors import UsageError
from tests.qc_core.report.test_video import renders

LIFT = "robomimic/lift-v0"
# The sensors of an observation, in order.
SENSORS = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "object-state")

needs_robosuite = pytest.mark.skipif(
    importlib.util.find_spec("robosuite") is None,
    reason="robosuite is not installed (make robomimic)",
)
each_task = pytest.mark.parametrize("task", TASKS)


def test_without_robosuite_a_task_is_described_but_not_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "robosuite", None)
    assert describe(LIFT).observation_size == 19
    with pytest.raises(UsageError) as refused:
        make_environment(LIFT)
    assert str(refused.value) == (
        f"environment {LIFT} needs robosuite: install q-chunking[robomimic]"
    )


def test_a_broken_robosuite_gives_another_message_than_a_missing_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "robosuite.py").write_text("raise ImportError('libGL.so.1: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "robosuite", raising=False)
    with pytest.raises(UsageError, match=r"cannot be imported: libGL.so.1: no such file \(Debian"):
        make_environment(LIFT)


@pytest.mark.parametrize("ask", [describe, make_environment])
def test_an_unknown_task_is_refused(ask: Any) -> None:
    with pytest.raises(UsageError, match=r"Did you mean robomimic/square-v0\?"):
        ask("robomimic/sqare-v0")


@needs_robosuite
@each_task
def test_the_spec_agrees_with_the_environment(task: str) -> None:
    spec, environment = describe(task), make_environment(task)
    simulation = simulation_of(environment)
    assert environment.spec is not None
    assert environment.spec.max_episode_steps == spec.episode_limit
    assert simulation.control_timestep == spec.control_interval
    assert isinstance(environment.action_space, gymnasium.spaces.Box)
    for low, high in (
        (environment.action_space.low, environment.action_space.high),
        simulation.action_spec,
    ):
        np.testing.assert_array_equal((low, high), (spec.action_low, spec.action_high))

    observation, _ = environment.reset(seed=1)
    by_name = named(simulation._get_observations())
    for _ in range(3):
        assert environment.observation_space.contains(observation)
        expected = [by_name[name] for name in spec.observation_names]
        np.testing.assert_array_equal(observation, np.array(expected, np.float32))
        observation, *_ = environment.step(np.full(7, 0.5))
        by_name = named(simulation._get_observations())
    environment.close()


@needs_robosuite
@pytest.mark.parametrize(
    ("task", "relative", "thing"),
    [
        (LIFT, "gripper_to_cube_pos", "cube_pos"),
        ("robomimic/can-v0", "Can_to_robot0_eef_pos", "Can_pos"),
        ("robomimic/square-v0", "SquareNut_to_robot0_eef_pos", "SquareNut_pos"),
    ],
)
def test_the_first_observation_contains_the_distance_to_the_object(
    task: str, relative: str, thing: str
) -> None:
    environment = make_environment(task)
    observation, _ = environment.reset(seed=0)
    by_name = dict(zip(describe(task).observation_names, observation, strict=True))

    def position(name: str) -> np.ndarray:
        return np.array([by_name[f"{name}_{axis}"] for axis in "xyz"])

    # The numbers relative to the gripper may stand in its frame: lengths agree in any.
    apart = np.linalg.norm(position(thing) - position("robot0_eef_pos"))
    assert np.linalg.norm(position(relative)) == pytest.approx(apart, abs=1e-5)
    environment.close()


@needs_robosuite
def test_the_arm_is_controlled_as_in_the_data_sets() -> None:
    environment = make_environment(LIFT)
    environment.reset(seed=1)
    simulation = simulation_of(environment)
    controller = simulation.robots[0].part_controllers["right"]
    position, orientation = controller.ref_pos.copy(), controller.ref_ori_mat.copy()
    environment.step(np.array([1, -0.5, 9, 0, 0, 1, -1]))
    np.testing.assert_allclose(controller.goal_pos - position, [0.05, -0.025, 0.05], atol=1e-3)
    turn = controller.goal_ori @ orientation.T
    assert np.arctan2(turn[1, 0], turn[0, 0]) == pytest.approx(0.5, abs=1e-2)
    np.testing.assert_array_equal(controller.kp, 150)
    np.testing.assert_allclose(controller.kd, 2 * np.sqrt(150))
    assert not simulation.lite_physics
    environment.close()


@needs_robosuite
@each_task
def test_the_same_seed_gives_the_same_episode_bit_for_bit(task: str) -> None:
    fresh, used = make_environment(task), make_environment(task)
    rng = np.random.default_rng(0)
    np.random.seed(5)
    others = np.random.get_state(legacy=False)
    used.reset(seed=9)
    for _ in range(20):
        used.step(rng.uniform(-1, 1, 7))
    first, _ = fresh.reset(seed=3)
    second, _ = used.reset(seed=3)
    np.testing.assert_array_equal(first, second)
    for _ in range(30):
        action = rng.uniform(-1, 1, 7)
        first, *_ = fresh.step(action)
        second, *_ = used.step(action)
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(fresh.reset(seed=3)[0], used.reset(seed=4)[0])
    # Nor do the draws of others from NumPy's global generator change.
    np.testing.assert_equal(np.random.get_state(legacy=False), others)
    fresh.close()
    used.close()


@needs_robosuite
def test_another_process_plays_the_same_episode_without_robosuite_output() -> None:
    program = (
        "import os; from qc_core.envs.make import make_environment; import numpy as np;"
        f"e = make_environment({LIFT!r}); e.reset(seed=3);"
        "o = [e.step(np.full(7, 0.3))[0] for _ in range(5)][-1];"
        "print(o.tobytes().hex(), os.environ.get('MUJOCO_GL'))"
    )
    environ = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
    )
    environment = make_environment(LIFT)
    environment.reset(seed=3)
    observation = [environment.step(np.full(7, 0.3))[0] for _ in range(5)][-1]
    assert (done.stdout, done.stderr) == (f"{observation.tobytes().hex()} None\n", "")
    environment.close()


@needs_robosuite
def test_a_scripted_lift_succeeds_and_ends_the_episode() -> None:
    environment = make_environment(LIFT)
    observation, info = environment.reset(seed=2)
    assert info["success"] is False
    act = scripted_lift()
    rewards: list[float] = []
    terminated = truncated = False
    while not (terminated or truncated):
        observation, reward, terminated, truncated, info = environment.step(act(observation))
        rewards.append(float(reward))
        assert info["success"] is terminated
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert len(rewards) < 60
    environment.close()


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two demonstrations of a lift in robomimic's form, recorded as robosuite records them."""
    path = tmp_path_factory.mktemp("robomimic") / "low_dim.hdf5"
    environment = make_environment(LIFT)
    simulation = simulation_of(environment)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_version": "1.5.1"})
        for number in range(2):
            environment.reset(seed=number)
            model, state = simulation.sim.model.get_xml(), simulation.sim.get_state().flatten()
            simulation.reset_from_xml_string(model)
            simulation.sim.reset()
            simulation.sim.set_state_from_flattened(state)
            simulation.sim.forward()
            sensors = simulation._get_observations(force_update=True)
            act, rows, states = scripted_lift(), [], []
            while not (rows and rows[-1][-1]):
                observation = np.concatenate([sensors[key] for key in SENSORS])
                action = np.clip(act(observation), -1, 1)
                states.append(simulation.sim.get_state().flatten())
                before = sensors
                sensors, reward, _, _ = simulation.step(action)
                rows.append((before, action, float(reward)))
            demo = data.create_group(f"demo_{number}")
            demo.attrs["model_file"] = model
            demo["states"] = np.array(states)
            observations, actions, rewards = zip(*rows, strict=True)
            for key in SENSORS:
                demo[f"obs/{key.removesuffix('-state')}"] = np.array([o[key] for o in observations])
            demo["actions"], demo["rewards"] = np.array(actions), np.array(rewards)
            demo["dones"] = (np.array(rewards) > 0).astype(int)
    environment.close()
    return path


@needs_robosuite
def test_demonstrations_are_played_again_from_their_models_and_states(demonstrations: Path) -> None:
    result = describe_source(str(demonstrations), replays=5).replay
    assert result and (result.episodes, result.early_ends, result.reward_difference) == (2, 0, 0)
    assert result.steps > 40 and result.observation_difference < 1e-5


@needs_robosuite
@pytest.mark.parametrize(
    ("find", "replacement", "message"),
    [
        ("/robosuite/", "/else/", "which is not a file of robosuite"),
        ("<asset>", '<include file="/etc/passwd"/><asset>', "the element include"),
        ("<asset>", "<asse", "cannot play the recorded actions"),
    ],
)
def test_models_that_read_other_files_are_refused(
    demonstrations: Path, tmp_path: Path, find: str, replacement: str, message: str
) -> None:
    shutil.copy(demonstrations, tmp_path / "hostile.hdf5")
    with h5py.File(tmp_path / "hostile.hdf5", "r+") as file:
        attributes: Any = file["data/demo_0"].attrs
        attributes["model_file"] = attributes["model_file"].replace(find, replacement)
    with pytest.raises(UsageError, match=message):
        describe_source(str(tmp_path / "hostile.hdf5"), replays=1)


@needs_robosuite
def test_a_state_that_differs_is_named(demonstrations: Path, tmp_path: Path) -> None:
    shutil.copy(demonstrations, tmp_path / "moved.hdf5")
    with h5py.File(tmp_path / "moved.hdf5", "r+") as file:
        states: Any = file["data/demo_0/states"]
        states[0, 1] += 0.2
    result = describe_source(str(tmp_path / "moved.hdf5"), replays=1).replay
    assert result and result.first_step_difference > 0.01 and result.observation_name


@needs_robosuite
def test_an_episode_without_success_ends_at_its_limit() -> None:
    environment = make_environment(LIFT)
    environment.reset(seed=0)
    ends = [environment.step(np.zeros(7))[2:4] for _ in range(300)]
    assert ends == [(False, False)] * 299 + [(False, True)]
    environment.close()


@needs_robosuite
def test_frames_have_the_requested_size_and_show_the_current_episode() -> None:
    """Wherever MuJoCo itself can draw."""
    program = (
        "from qc_core.envs.make import make_environment; import numpy as np;"
        f"made = lambda: make_environment({LIFT!r}, render_mode='rgb_array', width=64, height=48);"
        "last = lambda e, *seeds: [e.reset(seed=s) and e.render() for s in seeds][-1];"
        "used, fresh = last(made(), 1, 0), last(made(), 0);"
        "assert used.shape == (48, 64, 3) and used.std() > 20, (used.shape, used.std());"
        "assert np.array_equal(used, fresh), 'another episode shows'"
    )
    for backend in ("egl", "osmesa"):
        environ = {**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
        done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True)
        if done.returncode == 0:
            return
    assert not renders(), done.stderr.decode()


@needs_robosuite
def test_rendering_without_a_render_mode_is_refused() -> None:
    environment = make_environment(LIFT)
    environment.reset(seed=0)
    with pytest.raises(UsageError, match="render_mode='rgb_array'"):
        environment.render()
    environment.close()


def simulation_of(environment: gymnasium.Env) -> Any:
    inner: Any = environment.unwrapped
    return inner._simulation


def named(sensors: dict[str, np.ndarray]) -> dict[str, float]:
    """Each number of robosuite's sensors by the name that a spec has for it."""
    return {
        f"{key}_{axis}": value
        for key, values in sensors.items()
        for axis, value in zip("01" if values.size == 2 else "xyzw", values, strict=False)
    }


def scripted_lift() -> Callable[[np.ndarray], np.ndarray]:
    """Actions by observation: over the cube, down, close, up."""
    names = describe(LIFT).observation_names
    effector = slice(names.index("robot0_eef_pos_x"), names.index("robot0_eef_pos_z") + 1)
    cube = slice(names.index("cube_pos_x"), names.index("cube_pos_z") + 1)
    above, down, close, up = range(4)
    phase, closing = above, 0

    def act(observation: np.ndarray) -> np.ndarray:
        nonlocal phase, closing
        to_cube = observation[cube] - observation[effector]
        if phase == above and np.linalg.norm(to_cube[:2]) < 0.01:
            phase = down
        elif phase == down and abs(to_cube[2]) < 0.012:
            phase = close
        elif phase == close:
            closing += 1
            phase = up if closing > 6 else close
        higher = np.array([0, 0, 0.08])
        wanted = {above: to_cube + higher, down: to_cube, close: 0 * higher, up: higher}
        steps = np.clip(wanted[phase] / 0.05, -1, 1)
        return np.array([*steps, 0, 0, 0, 1 if phase in (close, up) else -1])

    return act
