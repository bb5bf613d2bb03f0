"""Write the policy folder of a checkpoint and check it against torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import torch

from qc_core import __version__
from qc_core.agents.agent import Agent
from qc_core.agents.best_of_n import BestOfNAgent
from qc_core.config.document import to_mapping
from qc_core.data.formats.locate import without_path
from qc_core.documents import read, to_json
from qc_core.errors import RunError, UsageError
from qc_core.evaluation.result import Evaluation
from qc_core.export.card import model_card
from qc_core.export.module import ExportableChunk
from qc_core.export.onnx_file import OPSET, to_onnx
from qc_core.export.parity import draw_cases
from qc_core.files import require_vacant, staged_folder, write_json
from qc_core.log import log
from qc_core.policy_format.contract import METADATA_KEY
from qc_core.policy_format.policy_folder import (
    CARD,
    CONTRACT,
    GOLDEN,
    MODEL,
    SCHEMA_VERSION,
    write_checksums,
)
from qc_core.provenance import git_commit, image, versions
from qc_core.runtime import ChunkPolicy
from qc_core.runtime.golden import TOLERANCE
from qc_core.training.checkpoint import CheckpointInfo, load_agent, read_info, weights_digest

PARITY_CASES = 1000
_MEASURES = ("success", "steps", "return")
_EXTENT = ("episodes", "transitions", "observation-range")


def export(checkpoint: Path, output: Path, evaluation: Path | None = None) -> dict[str, Any]:
    """Export a checkpoint's learned policy and return its contract.

    Args:
        evaluation: the comparison written by `evaluate`; its figures go into the contract, and
            the execution length with which they were measured.

    Raises:
        UsageError: not a checkpoint, an evaluation of others, or an output folder in use.
        RunError: onnxruntime and torch disagree by more than 1e-5.
    """
    require_vacant(output, staged=True)
    info = read_info(checkpoint)
    agent = load_agent(checkpoint, torch.device("cpu")).eval()
    contract = _contract(agent, info, _figures(evaluation, checkpoint), weights_digest(checkpoint))
    model = to_onnx(ExportableChunk(agent), agent.observation_size, agent.noise_shape)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(contract, sort_keys=True)
    onnx.checker.check_model(model, full_check=True)
    with staged_folder(output) as staging:
        (staging / MODEL).write_bytes(model.SerializeToString(deterministic=True))
        write_json(staging / CONTRACT, contract)
        (staging / CARD).write_text(model_card(contract), encoding="utf-8")
        cases = draw_cases(agent, PARITY_CASES, info.config.seed)
        cases.write_golden(staging / GOLDEN)
        write_checksums(staging)
        chunk_BHA = ChunkPolicy.load(staging).chunk(cases.observation_BO, cases.noise)
        worst = cases.difference(chunk_BHA, contract)
        if not worst <= TOLERANCE:
            raise RunError(
                f"the exported policy differs from torch by {worst:.1e} over {PARITY_CASES} "
                f"inputs, at most {TOLERANCE:.0e} is allowed"
            )
        size = (staging / MODEL).stat().st_size
    log.info(f"{MODEL}: {size / 1e6:.1f} MB, differs from torch by at most {worst:.1e}")
    return contract


def _contract(
    agent: Agent,
    info: CheckpointInfo,
    evaluation: dict[str, Any] | None,
    weights: str,
) -> dict[str, Any]:
    config, spec = info.config, info.spec
    extent = info.dataset_extent or dict.fromkeys(_EXTENT)
    tuning = None
    if info.trial is not None:
        tuning = {"trials": config.tune.trials, "best-trial": info.trial}
    execution_horizon = config.execution_horizon
    if evaluation is not None:
        execution_horizon = evaluation["execution-length"]
    return {
        "schema-version": SCHEMA_VERSION,
        "method": config.train.method,
        "environment": spec.id,
        "horizon": config.train.chunk_length,
        "execution-length": execution_horizon,
        "control-interval-seconds": spec.control_interval,
        "episode-limit": spec.episode_limit,
        "observation": {
            "names": list(spec.observation_names),
            "units": "environment, raw",
            "range-in-data": extent["observation-range"],
        },
        "action": {
            "names": list(spec.action_names),
            "low": list(spec.action_low),
            "high": list(spec.action_high),
        },
        "noise": {"shape": list(agent.noise_shape), "law": "standard normal, independent"},
        "flow-steps": agent.settings.flow_steps if isinstance(agent, BestOfNAgent) else 0,
        "opset": OPSET,
        "versions": {"q-chunking": __version__, **versions()},
        "dataset-digest": info.dataset_digest,
        "episodes": extent["episodes"],
        "transitions": extent["transitions"],
        "git-commit": git_commit(),
        "recipe": config.recipe,
        "seed": config.seed,
        "offline-steps": info.offline_steps,
        "online-steps": info.online_steps,
        "tuning": tuning,
        "evaluation": evaluation,
        "provenance": _provenance(info, weights),
    }


def _provenance(info: CheckpointInfo, weights: str) -> dict[str, Any]:
    """What else it takes to make the policy again, without any path of this machine."""
    config = to_mapping(info.config)
    config["data"]["source"] = [without_path(source) for source in config["data"]["source"]]
    return {
        "config": config,
        "dataset-source": info.dataset_source,
        "image": image(),
        # The policy whose weights the training began with, if it did not begin afresh.
        "parent": info.parent,
        "weights": weights,
    }


def _figures(evaluation: Path | None, checkpoint: Path) -> dict[str, Any] | None:
    """Return the results of this checkpoint's learned policy in an evaluation."""
    if evaluation is None:
        return None
    content, weights = read(evaluation, Evaluation), weights_digest(checkpoint)
    for policy in content.policies:
        if (policy.kind, policy.weights) == ("learned", weights):
            figures = to_json(policy)
            return {
                "episodes": content.episodes,
                "first-seed": content.first_seed,
                "execution-length": content.execution_horizon,
                **{name: figures[name] for name in _MEASURES},
                "success-told": policy.reports_success,
            }
    raise UsageError(
        f"{evaluation} compares other checkpoints than {checkpoint}: evaluate it first"
    )
