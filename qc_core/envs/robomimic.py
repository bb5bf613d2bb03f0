"""Environments for robomimic's lift, can and square: robosuite tasks with vector observations.

Importing this module registers the ids with Gymnasium. Only making an environment needs robosuite.
"""

from __future__ import annotations

import importlib
import logging
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import gymnasium
import mujoco
import numpy as np

from qc_core.envs.numpy_seed import global_numpy_seed
from qc_core.envs.robomimic_spec import (
    ARM_CONTROLLER,
    CONTROL_FREQUENCY,
    ROBOT,
    ROBOT_KEYS,
    TASKS,
    robomimic_spec,
)
from qc_core.errors import UsageError

# mujoco's functions come from a compiled module that type checkers cannot read.
_mujoco: Any = mujoco

_ARM = {
    **ARM_CONTROLLER,
    "input_ref_frame": "world",
    "interpolation": None,
    "gripper": {"type": "GRIP"},
}
_SETTINGS = {
    "robots": [ROBOT],
    "controller_configs": {"type": "BASIC", "body_parts": {"right": _ARM}},
    "control_freq": CONTROL_FREQUENCY,
    # The order of forward and step of robosuite 1.4, with which people collected the data.
    "lite_physics": False,
    "reward_shaping": False,
    "ignore_done": True,
    "use_object_obs": True,
    "use_camera_obs": False,
    "has_renderer": False,
    "has_offscreen_renderer": False,
}
_METADATA = {"render_modes": ["rgb_array"], "render_fps": CONTROL_FREQUENCY}
_CAMERA = "agentview"
_COLLISION_SHAPES = 0  # geom group; robosuite's own images hide it


class RobomimicEnvironment(gymnasium.Env[np.ndarray, np.ndarray]):
    """A robomimic task with vectors for observations and actions.

    The first success ends the episode with reward 1; all other rewards are 0. `info["success"]`
    reports success. The same seed gives the same episode, bit for bit.

    Raises:
        UsageError: robosuite is not installed or cannot be imported.
    """

    metadata = _METADATA

    def __init__(
        self, task: str, render_mode: str | None = None, width: int = 320, height: int = 240
    ) -> None:
        spec = robomimic_spec(task)
        robosuite = _import_robosuite(task)
        with global_numpy_seed(0):
            self._simulation = robosuite.make(TASKS[task].robosuite_name, **_SETTINGS)
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (spec.observation_size,), np.float32
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (spec.action_size,), np.float32)
        self.render_mode = render_mode
        self._size = height, width
        self._renderer: mujoco.Renderer | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._close_renderer()
        # robosuite 1.5.1 draws from NumPy's global generator, 1.5.2 from its own.
        self._simulation.rng.bit_generator.state = self.np_random.bit_generator.state
        with global_numpy_seed(int(self.np_random.integers(2**32))):
            self._simulation.reset()
        # The observation that robosuite's reset returns has zeros for object-to-gripper values.
        sensors = self._simulation._get_observations(force_update=True)
        return _observation(sensors), {"success": False}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        sensors, reward, _, _ = self._simulation.step(np.asarray(action, np.float64))
        success = float(reward) > 0
        return _observation(sensors), float(reward), success, False, {"success": success}

    def set_state(self, model: str, state: np.ndarray) -> np.ndarray:
        """Start an episode in a recorded state, and return its observation [O].

        Args:
            model: MuJoCo's XML. It belongs to the state, because sizes of objects differ.
            state: time, positions and velocities in one vector.

        Raises:
            UsageError: the model refers to files other than robosuite's.
        """
        self._close_renderer()
        simulation = self._simulation
        model = simulation.edit_model_xml(model)
        _require_own_files(model)
        # As robosuite starts the episodes that it records.
        simulation.reset_from_xml_string(model)
        simulation.sim.reset()
        simulation.sim.set_state_from_flattened(state)
        simulation.sim.forward()
        return _observation(simulation._get_observations(force_update=True))

    def render(self) -> Any:
        """Return the scene as uint8 [height, width, 3] (UsageError: not made for `rgb_array`)."""
        if self.render_mode != "rgb_array":
            raise UsageError("rendering needs an environment made with render_mode='rgb_array'")
        simulation = self._simulation.sim
        if self._renderer is None:
            self._renderer = mujoco.Renderer(simulation.model._model, *self._size)
        shown = _mujoco.MjvOption()
        shown.geomgroup[_COLLISION_SHAPES] = 0
        self._renderer.update_scene(simulation.data._data, _CAMERA, shown)
        return self._renderer.render()

    def close(self) -> None:
        self._close_renderer()
        self._simulation.close()

    def _close_renderer(self) -> None:
        """Close the renderer, which belongs to a model; every reset builds a new model."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _observation(sensors: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([sensors[key] for key in (*ROBOT_KEYS, "object-state")], dtype=np.float32)


def _require_own_files(model: str) -> None:
    """Refuse a model that reads files outside of robosuite (UsageError): it may be hostile."""
    own = Path(importlib.import_module("robosuite").__file__ or "").resolve().parent
    for element in ElementTree.fromstring(model).iter():
        files = [Path(text) for name, text in element.items() if name.startswith("file")]
        foreign = [path for path in files if own not in path.resolve().parents]
        if foreign or element.tag in ("include", "extension"):
            raise UsageError(
                f"the recorded model has the element {element.tag} with "
                f"{foreign[0] if foreign else 'other files'}, which is not a file of robosuite"
            )


def _import_robosuite(task: str) -> Any:
    """Import robosuite without its log messages and its choice of MUJOCO_GL for this process."""
    logging.getLogger("robosuite_logs").disabled = True
    renderer = os.environ.get("MUJOCO_GL")
    try:
        return importlib.import_module("robosuite")
    except ModuleNotFoundError:
        raise UsageError(
            f"environment {task} needs robosuite: install q-chunking[robomimic]"
        ) from None
    except ImportError as error:
        raise UsageError(
            f"environment {task} needs robosuite, which cannot be imported: {error} "
            "(Debian: apt-get install libgl1 libglib2.0-0)"
        ) from error
    finally:
        if renderer is None:
            os.environ.pop("MUJOCO_GL", None)
        else:
            os.environ["MUJOCO_GL"] = renderer


for _id, _task in TASKS.items():
    gymnasium.register(
        _id,
        entry_point=f"{__name__}:{RobomimicEnvironment.__name__}",
        max_episode_steps=_task.episode_limit,
        kwargs={"task": _id},
    )
