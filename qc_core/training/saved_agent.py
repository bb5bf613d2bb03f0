"""Writes an agent into a checkpoint folder, and loads it.

`qc_core.training.checkpoint` describes the folder, and reads everything else in it without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from qc_core.agents.agent import Agent
from qc_core.agents.make import make_agent
from qc_core.config.settings import TrainConfig
from qc_core.errors import TransientError, UsageError
from qc_core.files import staged_folder, write_json
from qc_core.training.checkpoint import (
    CURVE,
    DOCUMENT,
    OPTIMIZER,
    TRAINING,
    WEIGHTS,
    Checkpoint,
    Curve,
    read_checkpoint,
    write_curve,
)
from qc_core.training.checksums import require_intact, write_checksums
from qc_core.training.device import DEVICE_FAULTS


def save_checkpoint(
    folder: Path,
    agent: Agent,
    checkpoint: Checkpoint,
    curve: Curve,
    training: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a checkpoint folder atomically: `folder` appears when it is complete.

    Args:
        training: state to resume the training from; None for a finished training.
    """
    with staged_folder(folder) as staging:
        save_tensors(agent.state_dict(), staging / WEIGHTS)
        save_tensors(agent.optimizer_state(), staging / OPTIMIZER)
        if training is not None:
            save_tensors(training, staging / TRAINING)
        write_curve(staging / CURVE, curve)
        write_json(staging / DOCUMENT, checkpoint.as_json())
        write_checksums(staging)


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors of any device to a safetensors file (TransientError: the disk is full)."""
    try:
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, path)
        # safetensors makes a private file. The folder's permissions follow the umask.
        path.chmod(path.parent.stat().st_mode & 0o666)
    except SafetensorError as error:
        # safetensors gives no error number, only a text.
        raise TransientError(f"{path} cannot be written: {error}") from error


def load_agent(folder: Path, device: torch.device, train: TrainConfig | None = None) -> Agent:
    """Return the agent of a checkpoint with its optimiser state, to train it further.

    Args and errors are those of `load_acting_agent`.
    """
    agent = load_acting_agent(folder, device, train)
    _load_optimizer(agent, folder, device)
    return agent


def load_acting_agent(
    folder: Path, device: torch.device, train: TrainConfig | None = None
) -> Agent:
    """Return the agent of a checkpoint, to act with it.

    Args:
        train: settings for further training with the same networks; None takes the checkpoint's.

    Raises:
        UsageError: not a checkpoint, or weights that are missing, damaged or of other networks.
    """
    checkpoint = read_checkpoint(folder)
    spec = checkpoint.spec
    train = train or checkpoint.config.train
    agent = make_agent(spec.observation_size, spec.action_size, train, device)
    weights = _load(folder / WEIGHTS, device)
    try:
        agent.load_state_dict(weights)
    except DEVICE_FAULTS:
        raise
    except RuntimeError as error:
        raise UsageError(f"{folder / WEIGHTS} does not fit the networks of its config") from error
    return agent


def _load_optimizer(agent: Agent, folder: Path, device: torch.device) -> None:
    """Load the optimisers' state; before the first update it is empty (UsageError: damaged)."""
    path = folder / OPTIMIZER
    tensors = _load(path, device)
    if not tensors:
        checkpoint = read_checkpoint(folder)
        if not checkpoint.offline_steps + checkpoint.online_steps:
            return
    try:
        agent.load_optimizer_state(tensors)
    except UsageError as error:
        raise UsageError(f"{path} does not fit the networks: {error}") from error


def load_training_state(folder: Path) -> dict[str, torch.Tensor]:
    """Return the `training` state that was saved (UsageError: missing or damaged)."""
    return _load(folder / TRAINING, torch.device("cpu"))


def _load(path: Path, device: torch.device) -> dict[str, torch.Tensor]:
    require_intact(path.parent, path.name)
    try:
        return load_file(path, device=str(device))
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} is missing or damaged: {error}") from error
