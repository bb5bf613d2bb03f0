"""Records episodes step by step.

Shapes: T control steps, O observation, A action, X coordinates of a position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

# The simulator state that rewards may depend on, under the names of OGBench's files.
SIMULATOR_STATE = ("qpos", "button_states")


@dataclass(frozen=True, slots=True)
class EpisodeRecording:
    """One episode, in the types that the environment and the policy returned.

    Attributes:
        observations_TO: [T + 1, O], raw units, from the reset to the last step.
        actions_TA: [T, A], environment units.
        rewards_T: float64 [T].
        terminated_T: bool [T], whether the task ended with the step.
        info: recorded entries of the environment's `info` by name, each [T + 1, ...].
        positions_TX: [T + 1, X] in metres; [T + 1, 0] if no position was recorded.
    """

    observations_TO: np.ndarray
    actions_TA: np.ndarray
    rewards_T: np.ndarray
    terminated_T: np.ndarray
    info: Mapping[str, np.ndarray]
    positions_TX: np.ndarray


class EpisodeRecorder(gymnasium.Wrapper):
    """Records every step of an environment since its last reset.

    Args:
        environment: observations must be vectors.
        info_entries: names of `info` entries to record. Each must be in `info` after the reset and
            after every step, or never.
        position: returns the position to record, [X] in metres; called after the reset and after
            each step.
    """

    def __init__(
        self,
        environment: gymnasium.Env,
        *,
        info_entries: Sequence[str] = (),
        position: Callable[[], Any] = tuple,
    ) -> None:
        super().__init__(environment)
        self._info_entries, self._position = info_entries, position
        self._clear()

    def _clear(self) -> None:
        self._observations: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._terminated: list[bool] = []
        self._info: dict[str, list[np.ndarray]] = {}
        self._positions: list[np.ndarray] = []

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        observation, info = super().reset(**options)
        self._clear()
        self._record_state(observation, info)
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        result = super().step(action)
        observation, reward, terminated, _, info = result
        self._actions.append(np.array(action))
        self._rewards.append(float(reward))
        self._terminated.append(bool(terminated))
        self._record_state(observation, info)
        return result

    def recording(self) -> EpisodeRecording:
        """Return the steps since the last reset; there must be at least one."""
        return EpisodeRecording(
            observations_TO=np.stack(self._observations),
            actions_TA=np.stack(self._actions),
            rewards_T=np.array(self._rewards),
            terminated_T=np.array(self._terminated),
            info={name: np.stack(values) for name, values in self._info.items()},
            positions_TX=np.stack(self._positions),
        )

    def _record_state(self, observation: np.ndarray, info: Mapping[str, Any]) -> None:
        # Copies: an environment may reuse its arrays.
        self._observations.append(np.array(observation))
        self._positions.append(np.array(self._position(), np.float64))
        for name in self._info_entries:
            if name in info:
                self._info.setdefault(name, []).append(np.array(info[name]))
