"""Sets episodes of a dataset aside, for figures about data that a policy was not trained on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import VALIDATION_FOLDER, Dataset, DatasetWriter, Episodes
from qc_core.data.replay.shards import iter_shards
from qc_core.envs.registry import has_simulator
from qc_core.files import staged_folder
from qc_core.log import log

# One of this many episodes is held out.
_EVERY = 10
_BLOCK_ROWS = 1 << 18


def hold_out(dataset: Dataset, output: Path) -> None:
    """Write a dataset with some of its episodes moved to the validation part.

    The choice depends only on the order of the episodes. A dataset that already has a validation
    part, or has only one episode, is copied as it is.
    """
    episodes = dataset.info.episodes
    with staged_folder(output) as staging:
        if dataset.validation is not None or episodes < 2:
            shutil.copytree(dataset.folder, staging, dirs_exist_ok=True)
            return
        writers = {
            False: DatasetWriter(staging, dataset.spec),
            True: DatasetWriter(staging / VALIDATION_FOLDER, dataset.spec),
        }
        first = held_out = 0
        solved_counts = dataset.solved_counts
        for block in iter_shards(dataset, _BLOCK_ROWS):
            lengths = np.diff(np.flatnonzero(block.terminals), prepend=-1)
            numbers = first + np.arange(len(lengths))
            # The last of every ten; of fewer episodes, the last one.
            chosen = numbers % _EVERY == min(episodes, _EVERY) - 1
            for is_held_out, writer in writers.items():
                part = chosen == is_held_out
                if part.any():
                    writer.append(_episodes(block, lengths, part), solved_counts[numbers[part]])
            first += len(lengths)
            held_out += int(chosen.sum())
        for writer in writers.values():
            writer.finish(
                dataset.info.source,
                mujoco_version=dataset.info.mujoco_version,
                reward_convention=dataset.info.reward_convention,
                reports_success=dataset.info.reports_success,
            )
    log.info(f"{held_out} of {episodes} episodes are held out of the training, to evaluate it")


def copy_held_out(config: Config, dataset: Path, output: Path) -> None:
    """Copy the held-out part of a dataset to a new folder, for the steps that evaluate on it.

    The folder is empty if the environment has a simulator: its policies are evaluated there.
    """
    held_out = dataset / VALIDATION_FOLDER
    with staged_folder(output) as staging:
        if held_out.is_dir() and not has_simulator(config.environment):
            shutil.copytree(held_out, staging, dirs_exist_ok=True)


def _episodes(block: Dataset, lengths: np.ndarray, chosen: np.ndarray) -> Episodes:
    """Return the chosen episodes of a block; `lengths` and `chosen` have one entry per episode."""
    transitions = np.repeat(chosen, lengths)
    return Episodes(
        # An episode has one more observation than transitions.
        observations=block.observations[np.repeat(chosen, lengths + 1)],
        actions=block.actions[transitions],
        rewards=block.rewards[transitions],
        masks=block.masks[transitions],
        terminals=block.terminals[transitions],
    )
