"""Records episodes while a robot plays, in the form that `qc ingest` reads.

Shapes: N steps, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from qc_core.errors import UsageError
from qc_core.files import require_new_file, staged_file
from qc_core.policy_format.contract import Contract

# Rounding to float32 may move an action beyond its bound by this part of the range.
_TOLERANCE = 1e-5
_NO_SEED = -1


class EpisodeRecorder:
    """Collects steps in memory and writes them to one npz file on `close`.

    Call `reset` at the start of each episode and `step` after each control step:

        with EpisodeRecorder("played.npz", contract=policy.contract) as recorder:
            recorder.reset(observation)
            recorder.step(action, next_observation, reward, terminated=fell, success=done)

    An episode that is still open at the next `reset` or at `close` ends as by a time limit. The
    file is also written if the robot's program fails inside of the `with` block.

    Args:
        path: npz file to write; it must not exist.
        contract: of the policy that plays; it provides all other arguments.
        environment: Gymnasium id, or `robot/NAME` for a robot without a simulator.
        control_interval: seconds per control step.
        action_low, action_high: bounds of each action; None if they are unknown.
        observation_names, action_names: None for numbered names.

    Raises:
        UsageError: the file exists or cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        contract: Contract | None = None,
        environment: str | None = None,
        control_interval: float | None = None,
        action_low: Sequence[float] | None = None,
        action_high: Sequence[float] | None = None,
        observation_names: Sequence[str] | None = None,
        action_names: Sequence[str] | None = None,
    ) -> None:
        self.path = Path(path)
        require_new_file(self.path)
        described: dict[str, Any] = {
            "environment": environment,
            "control_interval": control_interval,
            "action_low": action_low,
            "action_high": action_high,
            "observation_names": observation_names,
            "action_names": action_names,
        }
        if contract is not None:
            known = {
                "environment": contract.environment,
                "control_interval": contract.control_interval_seconds,
                "action_low": contract.action.low,
                "action_high": contract.action.high,
                "observation_names": contract.observation.names,
                "action_names": contract.action.names,
            }
            described = {k: known[k] if value is None else value for k, value in described.items()}
        self._described = {k: np.array(v) for k, v in described.items() if v is not None}
        # None between the end of an episode and the next reset.
        self._observation: np.ndarray | None = None
        self._seed: int | None = None
        self._is_open = False
        self._steps: dict[str, list[Any]] = {
            name: []
            for name in ("observations", "next_observations", "actions", "rewards", "successes")
        }
        self._terminals: list[bool] = []
        self._timeouts: list[bool] = []
        self._seeds: list[int] = []
        self._closed = False

    def __enter__(self) -> EpisodeRecorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None or self._terminals:
            self.close()

    def reset(self, observation: Any, *, seed: int | None = None) -> None:
        """Start an episode with its first observation [O], raw units.

        Args:
            seed: of a simulator's reset, so that `qc describe --replay` can play the episode again.
        """
        self._end_open_episode()
        self._observation, self._seed = np.array(observation, np.float32), seed

    def step(
        self,
        action: Any,
        next_observation: Any,
        reward: float | None = None,
        *,
        terminated: bool = False,
        truncated: bool = False,
        success: bool | None = None,
    ) -> None:
        """Record the action [A] that was executed, and what followed from it.

        Args:
            next_observation: [O], after the action.
            reward: of this step; None in all steps if there are no rewards.
            terminated: the task has ended, by success or failure; no reward can follow.
            truncated: the episode ends, but the task could go on, such as at a time limit.
            success: the task is solved; None in all steps if it is unknown.

        Raises:
            UsageError: there was no `reset` since the last episode.
        """
        if self._observation is None:
            raise UsageError("call reset(observation) at the start of an episode, before step()")
        following = np.array(next_observation, np.float32)
        values = (self._observation, following, np.array(action, np.float32), reward, success)
        for column, value in zip(self._steps.values(), values, strict=True):
            column.append(value)
        self._seeds.append(_NO_SEED if self._seed is None else self._seed)
        self._terminals.append(bool(terminated))
        self._timeouts.append(bool(truncated) and not terminated)
        self._is_open = not (terminated or truncated)
        self._observation = following if self._is_open else None

    def close(self) -> None:
        """Check all steps and write the file; later calls do nothing.

        Raises:
            UsageError: nothing was recorded; or sizes differ between steps, a number is not finite,
                or an action is out of bounds. Then the steps are in `NAME.invalid.npz`, and the
                message says what is wrong.
        """
        if self._closed:
            return
        self._closed = True
        self._end_open_episode()
        if not self._terminals:
            raise UsageError(f"{self.path} is not written: no step was recorded")
        reason = self._fault()
        target = self.path.with_suffix(".invalid.npz") if reason else self.path
        with staged_file(target) as staging, staging.open("wb") as file:
            np.savez_compressed(file, **self._arrays())
        if reason:
            raise UsageError(f"{reason}: the steps are in {target}, {self.path} is not written")

    def _end_open_episode(self) -> None:
        if self._is_open:
            self._timeouts[-1] = True
        self._is_open, self._observation = False, None

    def _arrays(self) -> dict[str, Any]:
        arrays: dict[str, Any] = dict(self._described)
        for name, values in self._steps.items():
            if name in ("rewards", "successes"):
                if any(value is not None for value in values):
                    kind, missing = (np.float32, np.nan) if name == "rewards" else (bool, False)
                    filled = [missing if value is None else value for value in values]
                    arrays[name] = np.array(filled, kind)
            elif len({value.shape for value in values}) == 1:
                arrays[name] = np.stack(values)
            else:
                # Steps of different sizes: one array per step loses nothing.
                arrays |= {f"{name}_{i}": value for i, value in enumerate(values)}
        if max(self._seeds, default=_NO_SEED) != _NO_SEED:
            arrays["seeds"] = np.array(self._seeds)
        return arrays | {
            "terminals": np.array(self._terminals),
            "timeouts": np.array(self._timeouts),
        }

    def _fault(self) -> str:
        """Return what is wrong with the recorded steps, '' if nothing."""
        for name in ("observations", "next_observations", "actions"):
            first = self._steps[name.removeprefix("next_")][0]
            for row, value in enumerate(self._steps[name]):
                if value.shape != first.shape or value.ndim != 1:
                    return (
                        f"{name} must be vectors of one size, got {list(value.shape)} in step "
                        f"{row}, {list(first.shape)} in the first"
                    )
        arrays = self._arrays()
        unrewarded = [value is None for value in self._steps["rewards"]]
        if "rewards" in arrays and any(unrewarded):
            return f"the reward is missing in step {unrewarded.index(True)}, but not in all steps"
        for name in ("observations", "next_observations", "actions", "rewards"):
            values = arrays.get(name, np.zeros(1))
            finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
            if not finite.all():
                return f"{name} holds NaN or infinity in step {int(np.argmin(finite))}"
        for name, of in (("observation_names", "observations"), ("action_names", "actions")):
            if name in arrays and arrays[name].shape != arrays[of].shape[1:]:
                return f"{of} have {arrays[of].shape[1]} numbers, {name} {arrays[name].size}"
        return self._out_of_bounds(arrays)

    def _out_of_bounds(self, arrays: dict[str, Any]) -> str:
        if "action_low" not in arrays or "action_high" not in arrays:
            return ""
        actions, low_A, high_A = arrays["actions"], arrays["action_low"], arrays["action_high"]
        if low_A.shape != actions.shape[1:] or high_A.shape != actions.shape[1:]:
            return f"actions have {actions.shape[1]} numbers, their bounds {low_A.size}"
        excess = np.maximum(low_A - actions, actions - high_A) - _TOLERANCE * (high_A - low_A)
        if excess.max() <= 0:
            return ""
        row, index = np.unravel_index(int(excess.argmax()), excess.shape)
        return (
            f"action {index} is {actions[row, index]:g} in step {row}, its bounds are "
            f"{low_A[index]:g} to {high_A[index]:g}"
        )
