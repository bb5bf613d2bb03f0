"""Writes the policy folder of a checkpoint and compares the exported policy with torch."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import torch

from qc_core import __version__, documents
from qc_core.agents.agent import Agent
from qc_core.config.document import to_mapping
from qc_core.data.formats.locate import without_path
from qc_core.documents import read
from qc_core.errors import RunError, UsageError
from qc_core.evaluation.result import Evaluation
from qc_core.export.card import model_card
from qc_core.export.module import ExportableChunk
from qc_core.export.onnx_file import OPSET, to_onnx
from qc_core.export.parity import draw_cases
from qc_core.files import require_vacant, staged_folder
from qc_core.log import log
from qc_core.policy_format.contract import (
    METADATA_KEY,
    Actions,
    Contract,
    EvaluationSummary,
    Noise,
    Observations,
    Provenance,
    TuningSummary,
)
from qc_core.policy_format.held_out_result import HeldOutResult
from qc_core.policy_format.policy_folder import CARD, CONTRACT, GOLDEN, MODEL, write_checksums
from qc_core.provenance import git_commit, image, versions
from qc_core.runtime import ChunkPolicy
from qc_core.runtime.golden import TOLERANCE
from qc_core.training.checkpoint import Checkpoint, read_checkpoint, weights_digest
from qc_core.training.saved_agent import load_acting_agent

PARITY_CASES = 1000


def export(checkpoint: Path, output: Path, evaluation: Path | None = None) -> Contract:
    """Export a checkpoint's learned policy to a new folder and return its contract.

    Args:
        evaluation: the comparison written by `evaluate`; the contract gets its figures and the
            execution horizon of the measurement.

    Raises:
        UsageError: not a checkpoint, an evaluation of other checkpoints, or the output folder is
            in use.
        RunError: onnxruntime and torch differ by more than 1e-5.
    """
    require_vacant(output, staged=True)
    info = read_checkpoint(checkpoint)
    agent = load_acting_agent(checkpoint, torch.device("cpu")).eval()
    weights = weights_digest(checkpoint)
    measured = evaluation and read(evaluation, Evaluation)
    contract = _contract(agent, info, measured, weights)
    if measured and contract.evaluation is None and contract.held_out is None:
        raise UsageError(
            f"{evaluation} compares other checkpoints than {checkpoint}: evaluate it first"
        )
    model = to_onnx(ExportableChunk(agent), agent.observation_size, agent.noise_shape)
    entry = model.metadata_props.add()
    entry.key = METADATA_KEY
    entry.value = json.dumps(documents.to_json(contract), sort_keys=True)
    onnx.checker.check_model(model, full_check=True)
    with staged_folder(output) as staging:
        (staging / MODEL).write_bytes(model.SerializeToString(deterministic=True))
        documents.write(staging / CONTRACT, contract)
        (staging / CARD).write_text(model_card(contract), encoding="utf-8")
        cases = draw_cases(agent, PARITY_CASES, info.config.seed)
        cases.write_golden(staging / GOLDEN)
        write_checksums(staging)
        chunk_BHA = ChunkPolicy.load(staging).chunk(cases.observation_BO, cases.noise)
        worst = cases.difference(chunk_BHA, contract.action)
        if not worst <= TOLERANCE:
            raise RunError(
                f"the exported policy differs from torch by {worst:.1e} over {PARITY_CASES} "
                f"inputs, at most {TOLERANCE:.0e} is allowed"
            )
        size = (staging / MODEL).stat().st_size
    log.info(f"{MODEL}: {size / 1e6:.1f} MB, differs from torch by at most {worst:.1e}")
    return contract


def _contract(
    agent: Agent, info: Checkpoint, measured: Evaluation | None, weights: str
) -> Contract:
    config, spec = info.config, info.spec
    extent = info.dataset_extent
    return Contract(
        method=config.train.method,
        environment=spec.id,
        chunk_length=config.train.chunk_length,
        execution_horizon=(measured.execution_horizon if measured else config.execution_horizon),
        control_interval_seconds=spec.control_interval,
        episode_limit=spec.episode_limit,
        observation=Observations(
            names=spec.observation_names,
            units="environment, raw",
            range_in_data=extent and extent.observation_range,
        ),
        action=Actions(names=spec.action_names, low=spec.action_low, high=spec.action_high),
        noise=Noise(shape=tuple(agent.noise_shape), distribution="standard normal, independent"),
        evaluation=_summary(measured, weights) if measured else None,
        held_out=_held_out(measured, weights) if measured else None,
        flow_steps=agent.policy_flow_steps,
        opset=OPSET,
        versions={"q-chunking": __version__, **versions()},
        dataset_digest=info.dataset_digest,
        episodes=extent and extent.episodes,
        transitions=extent and extent.transitions,
        git_commit=git_commit(),
        recipe=config.recipe,
        seed=config.seed,
        offline_steps=info.offline_steps,
        online_steps=info.online_steps,
        tuning=(
            None
            if info.trial is None
            else TuningSummary(trials=config.tune.trials, best_trial=info.trial)
        ),
        provenance=_provenance(info, weights),
    )


def _provenance(info: Checkpoint, weights: str) -> Provenance:
    """Return what is needed to train the policy again, without any path of this machine."""
    config = to_mapping(info.config)
    config["data"]["source"] = [without_path(source) for source in config["data"]["source"]]
    return Provenance(
        config=config,
        dataset_source=info.dataset_source,
        image=image(),
        parent=info.parent,
        weights=weights,
    )


def _summary(measured: Evaluation, weights: str) -> EvaluationSummary | None:
    """Return what the episodes measured for the learned policy with these weights."""
    for policy in measured.policies:
        if (policy.kind, policy.weights) == ("learned", weights):
            return EvaluationSummary(
                episodes=measured.episodes,
                first_seed=measured.first_seed,
                execution_horizon=measured.execution_horizon,
                success=policy.success,
                steps=policy.steps,
                episode_return=policy.episode_return,
                reports_success=policy.reports_success,
            )
    return None


def _held_out(measured: Evaluation, weights: str) -> HeldOutResult | None:
    """Return the offline figures of the learned policy with these weights."""
    wanted = ("learned", weights)
    return next((r for r in measured.held_out if (r.kind, r.weights) == wanted), None)
