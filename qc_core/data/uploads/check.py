"""Checks uploaded files of episodes before they are used for training.

For OGBench's single tasks, the form is OGBench's npz: rows of `observations`, `actions`,
`terminals`, optional `timeouts`, and the simulator state that rewards depend on. For all other
environments and for robots, a row is a step with its reward, as `EpisodeRecorder` writes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

import numpy as np

from qc_core.config.settings import Config
from qc_core.data.formats.npz_file import NpzFile
from qc_core.data.formats.ogbench_npz import (
    OPTIONAL,
    REQUIRED,
    open_ogbench,
    require_fit,
    take_ends,
)
from qc_core.data.formats.source import Source
from qc_core.data.formats.steps_file import open_steps
from qc_core.envs.make import describe
from qc_core.envs.registry import has_simulator
from qc_core.envs.relabelling import Relabelling, has_single_task
from qc_core.errors import UsageError
from qc_core.policy_format.contract import Contract
from qc_core.policy_format.environment_spec import EnvironmentSpec, is_same_environment

_BLOCK_ROWS = 25_000
# Rounding to float32 may move an action beyond its bound.
_TOLERANCE = 1e-5


class UploadCheck(ABC):
    """Refuses files that are not complete episodes of an environment."""

    @abstractmethod
    def __call__(self, path: Path) -> int:
        """Read a complete file and return its number of episodes.

        The memory needed is that of a block of rows, independent of the file's claimed size.

        Raises:
            UsageError: the file is damaged, has the wrong sizes or non-finite numbers, its actions
                are out of bounds, or its episodes are unmarked, too short, too long or incomplete.
        """

    @abstractmethod
    def open(self, folder: Path) -> Source:
        """Open a folder of accepted files (UsageError: they are damaged)."""

    @abstractmethod
    def close(self) -> None:
        """Release the environment."""


def upload_check(config: Config, contract: Contract | None) -> UploadCheck:
    """Return the check for the uploads of `config.environment`.

    Args:
        contract: of the policy whose robot recorded the episodes; needed without a simulator, and
            not used with one.

    Raises:
        UsageError: the environment is unknown, or the contract is that of another environment.
    """
    if has_single_task(config.environment):
        return _OGBenchCheck(config.environment)
    return _StepsCheck(config, contract)


class _StepsCheck(UploadCheck):
    """Checks steps against the environment, or against the policy's contract without a simulator.

    A robot has no limit of its own on the length of an episode.
    """

    def __init__(self, config: Config, contract: Contract | None) -> None:
        environment = config.environment
        self._config = config
        self._limit: int | None = None
        if has_simulator(environment):
            self._spec = describe(environment, config.control_interval)
            self._limit = self._spec.episode_limit
            return
        if contract is None:
            raise UsageError(
                f"{environment} has no simulator, and there is no policy whose contract the "
                "episodes could be checked against: give qc episodes push --policy NAME, or train "
                "the first policy from files"
            )
        if not is_same_environment(contract.environment, environment):
            raise UsageError(
                f"the policy is for {contract.environment}, not for {environment}: give another "
                "--policy or --environment"
            )
        self._spec = spec_of(contract)

    def __call__(self, path: Path) -> int:
        spec = self._spec
        source = self._open(path)
        low_A, high_A = np.array([spec.action_low, spec.action_high])
        tolerance_A = _TOLERANCE * np.maximum(high_A - low_A, 1)
        episodes = 0
        for block in source.read():
            excess = np.maximum(low_A - block.actions, block.actions - high_A) - tolerance_A
            if excess.max() > 0:
                raise _out_of_bounds(path, spec, float((excess + tolerance_A).max()))
            lengths = np.diff(np.flatnonzero(block.terminals), prepend=-1)
            if self._limit is not None and (longest := int(lengths.max())) > self._limit:
                raise UsageError(
                    f"{path}: an episode of {spec.id} has at most {self._limit} steps, one has "
                    f"{longest}"
                )
            episodes += len(lengths)
        return episodes

    def open(self, folder: Path) -> Source:
        # The files' own bounds may be narrower than those of the environment or the policy.
        return replace(self._open(folder), spec=self._spec, bounds_from_data=False)

    def close(self) -> None:
        """Nothing is open between two files."""

    def _open(self, path: Path) -> Source:
        """Open a file or folder, and compare what it states with the expected description."""
        spec = self._spec
        source = open_steps(path, self._config, self._config.environment)
        got = source.spec
        sizes = (got.observation_size, got.action_size)
        if sizes != (spec.observation_size, spec.action_size):
            raise UsageError(
                f"{path}: {spec.id} has {spec.observation_size} observations and "
                f"{spec.action_size} actions, the file {sizes[0]} and {sizes[1]}"
            )
        interval = got.control_interval
        if interval and not np.isclose(interval, spec.control_interval, rtol=1e-3):
            raise UsageError(
                f"{path}: the control interval of {spec.id} is {spec.control_interval:g} s, that "
                f"of the file {interval:g} s"
            )
        return source


def spec_of(contract: Contract) -> EnvironmentSpec:
    """Return the description of the environment or robot that a policy was trained for."""
    return EnvironmentSpec(
        id=contract.environment,
        observation_names=contract.observation.names,
        action_names=contract.action.names,
        action_low=contract.action.low,
        action_high=contract.action.high,
        episode_limit=contract.episode_limit,
        control_interval=contract.control_interval_seconds,
    )


def _out_of_bounds(path: Path, spec: EnvironmentSpec, excess: float) -> UsageError:
    return UsageError(
        f"{path}: actions must be within the bounds of {spec.id}, one is {excess:.3g} outside"
    )


class _OGBenchCheck(UploadCheck):
    """Checks rows in OGBench's form (UsageError: the environment has no single task)."""

    def __init__(self, environment: str) -> None:
        self._relabel = Relabelling(environment)

    def open(self, folder: Path) -> Source:
        return open_ogbench(folder, self._relabel.spec.id)

    def __call__(self, path: Path) -> int:
        spec = self._relabel.spec
        low_A, high_A = np.array([spec.action_low, spec.action_high])
        longest, episodes, unended = spec.episode_limit + 1, 0, 0
        with NpzFile(path, (*REQUIRED, *self._relabel.widths), OPTIONAL) as npz:
            require_fit(path, npz.shapes, self._relabel)
            for block in npz.blocks(_BLOCK_ROWS):
                actions = block["actions"]
                excess = float(np.maximum(low_A - actions, actions - high_A).max())
                if excess > _TOLERANCE:
                    raise _out_of_bounds(path, spec, excess)
                ends = np.flatnonzero(take_ends(path, block))
                lengths = np.diff(ends, prepend=-1 - unended)
                unended = len(actions) - 1 - int(ends[-1]) if len(ends) else unended + len(actions)
                episodes += len(ends)
                if lengths.min(initial=2) < 2:
                    raise UsageError(f"{path}: an episode needs at least two rows, one has 1")
                if (got := int(lengths.max(initial=unended))) > longest:
                    raise UsageError(
                        f"{path}: an episode of {spec.id} has at most {longest} rows, "
                        f"one has {got} or more"
                    )
        if unended:
            raise UsageError(
                f"{path}: the last row must end an episode, {unended} rows follow the last end"
            )
        return episodes

    def close(self) -> None:
        self._relabel.close()
