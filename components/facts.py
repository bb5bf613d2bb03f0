"""Facts about the artifacts of a run, which KFP shows as their metadata.

They are texts and numbers, because KFP stores nothing else. A step imports only what its own facts
need.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from qc_core.documents import read
from qc_core.files import sha256_of

Facts = dict[str, str | float]


def config_facts(file: Path) -> Facts:
    """Return what a configuration trains."""
    from qc_core.config.document import read_config

    config = read_config(file)
    return {
        "recipe": config.recipe,
        "method": config.train.method,
        "seed": config.seed,
        "environment": config.environment,
    }


def dataset_facts(folder: Path) -> Facts:
    """Return size and digest of a dataset."""
    from qc_core.data.dataset.dataset import open_dataset

    info = open_dataset(folder).info
    return {
        "environment": info.environment,
        "episodes": info.episodes,
        "transitions": info.transitions,
        "digest": info.digest,
    }


def checkpoint_facts(folder: Path) -> Facts:
    """Return what a checkpoint has learned, and the digest of its weights."""
    from qc_core.training.checkpoint import read_checkpoint, weights_digest

    checkpoint = read_checkpoint(folder)
    trial = {} if checkpoint.trial is None else {"trial": checkpoint.trial}
    return {
        "method": checkpoint.config.train.method,
        "offline_steps": checkpoint.offline_steps,
        "online_steps": checkpoint.online_steps,
        **trial,
        "digest": weights_digest(folder),
    }


def worker_facts(file: Path) -> Facts:
    """Return the number of a worker's trials by state."""
    from qc_core.tuning.trials import read_worker_trials

    return dict(Counter(f"{trial.state}_trials" for trial in read_worker_trials(file)))


def history_facts(file: Path) -> Facts:
    """Return the number of trials by state, and the best one."""
    from qc_core.tuning.trials import read_history

    history = read_history(file)
    best = {} if history.best_trial is None else {"best_trial": history.best_trial}
    return {**Counter(f"{trial.state}_trials" for trial in history.trials), **best}


def evaluation_facts(file: Path) -> Facts:
    """Return the results of all policies with their intervals."""
    from qc_core.evaluation.result import Evaluation
    from qc_core.readable import measures

    evaluation = read(file, Evaluation)
    facts: Facts = {"episodes": evaluation.episodes}
    for policy in evaluation.policies:
        shown = (f"{name} {text}" for name, text in measures(policy).items())
        facts[policy.name] = ", ".join(shown)
    for result in evaluation.held_out:
        facts[result.name] = f"log-likelihood per number {result.fit}"
    return facts


def new_data_facts(file: Path) -> Facts:
    """Return whether there is new data, and why."""
    from qc_core.retraining.new_data import NewData

    found = read(file, NewData)
    return {
        "new": "yes" if found.new else "no",
        "parent": found.parent or "none",
        "reason": found.text,
    }


def policy_facts(folder: Path) -> Facts:
    """Return the result of an exported policy with its intervals, and the digest of its files."""
    from qc_core.policy_format.policy_folder import CHECKSUMS, read_contract
    from qc_core.readable import measures

    contract = read_contract(folder)
    facts: Facts = {"method": contract.method, "environment": contract.environment}
    if contract.evaluation is not None:
        facts |= {"episodes": contract.evaluation.episodes, **measures(contract.evaluation)}
    return {**facts, "digest": sha256_of(folder / CHECKSUMS)}


def promotion_facts(file: Path) -> Facts:
    """Return the published version and the decision of the gate."""
    from qc_core.publish.promotion import Promotion

    promotion = read(file, Promotion)
    gate = promotion.gate
    return {
        "version": f"{promotion.name}:{promotion.version}",
        "champion": "yes" if promotion.champion else "no",
        "reason": gate.reason,
        "episodes": gate.episodes,
        "champion_before": gate.champion_before or "none",
    }
