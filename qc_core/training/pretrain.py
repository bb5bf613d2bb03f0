"""Offline training from a data set to a checkpoint."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from qc_core.agents.flow_agent import FlowAgent
from qc_core.agents.make import make_agent
from qc_core.data.dataset import open_dataset, require_match
from qc_core.data.replay import OfflineData
from qc_core.data.windows import sample_windows
from qc_core.envs.make import describe
from qc_core.errors import WorkFailed, WrongUse
from qc_core.files import require_vacant
from qc_core.progress import Progress
from qc_core.recipes.config import Config, TrainConfig
from qc_core.seeds import seeds_for
from qc_core.training.checkpoint import CheckpointInfo, Curve, save_checkpoint
from qc_core.training.device import training_device

_VALIDATION_BATCH = 1024


def pretrain(config: Config, dataset_folder: Path, output: Path) -> None:
    """Train `config.train.offline_steps` updates and write a checkpoint to `output`.

    The same seed gives the same weights on the same CPU with as many threads.

    Raises:
        WrongUse: a data set that is broken, too short or not the environment's; an output
            folder in use.
        WorkFailed: the losses are no longer finite.
    """
    require_vacant(output)
    train = config.train
    spec = describe(config.environment)
    dataset = open_dataset(dataset_folder)
    require_match(dataset, spec)
    if dataset.transitions < train.backup_length:
        raise WrongUse(
            f"{dataset_folder}: backups over {train.backup_length} steps need at least as many "
            f"transitions, got {dataset.transitions}"
        )
    device = training_device()
    seed = seeds_for("pretrain", config.seed, 1)[0]
    torch.manual_seed(seed)
    agent = make_agent(spec.observation_size, spec.action_size, train).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    data = OfflineData(dataset, device)
    if train.normalize_observations:
        agent.set_normalization(*data.observation_statistics())
    validation = dataset.validation
    held_out = (
        OfflineData(validation, device)
        if validation is not None and validation.transitions >= train.backup_length
        else None
    )

    curve: Curve = []
    start = time.monotonic()
    with Progress(train.offline_steps, "offline", "update") as progress:
        for step in range(1, train.offline_steps + 1):
            agent.set_learning_rate(learning_rate_at(step, train))
            windows = sample_windows(data, config, generator)
            info = agent.update(windows, agent.draw_noise(train.batch_size, generator))
            note = None
            if step % train.log_every == 0 or step == train.offline_steps:
                point = {name: float(value) for name, value in info.items()}
                require_finite(point, step, "--train.learning-rate")
                if held_out is not None:
                    point["validation/cloning_loss"] = _validate(agent, held_out, config, seed)
                curve.append({"step": step, "seconds": time.monotonic() - start, **point})
                note = f"value {point['critic/value']:.1f}"
            progress.update(note=note)
    save_checkpoint(
        output,
        agent,
        CheckpointInfo(
            config=config,
            observation_size=spec.observation_size,
            action_size=spec.action_size,
            dataset_digest=dataset.digest,
            offline_steps=train.offline_steps,
        ),
        curve,
    )


def learning_rate_at(step: int, train: TrainConfig) -> float:
    """The rate of one offline update, the first being 1."""
    done = (step - 1) / max(1, train.offline_steps - 1)
    return train.learning_rate * (1 - done * (1 - train.learning_rate_decay))


def require_finite(point: dict[str, float], step: int, remedy: str) -> None:
    """Stop a training whose figures have become NaN or infinite (WorkFailed).

    Args:
        remedy: the option to lower.
    """
    wrong = [name for name, value in point.items() if not abs(value) < float("inf")]
    if wrong:
        raise WorkFailed(
            f"training diverged before update {step}: {wrong[0]} is {point[wrong[0]]}; "
            f"lower {remedy}"
        )


@torch.no_grad()
def _validate(agent: FlowAgent, data: OfflineData, config: Config, seed: int) -> float:
    """Cloning loss on held-out windows, the same ones and the same noise each time."""
    generator = torch.Generator(data.rewards.device).manual_seed(seed)
    windows = agent.normalize_windows(sample_windows(data, config, generator, _VALIDATION_BATCH))
    return float(agent.cloning_loss(windows, agent.draw_noise(_VALIDATION_BATCH, generator)))
