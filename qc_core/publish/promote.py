"""Publish a policy, and make it champion if it passes the gate."""

from __future__ import annotations

from pathlib import Path

from qc_core import provenance
from qc_core.config.settings import Config
from qc_core.envs.registry import has_simulator
from qc_core.errors import UsageError
from qc_core.log import log
from qc_core.policy_format.policy_folder import read_contract
from qc_core.publish.approve import approve, require_no_simulator
from qc_core.publish.gate.challenge import challenge
from qc_core.publish.gate.offline import compare_offline
from qc_core.publish.promotion import Promotion
from qc_core.registry import gate_record
from qc_core.registry.gate_record import GateRecord
from qc_core.registry.registry import LATEST, Registry
from qc_core.registry.signing import signing_key
from qc_core.store.objects import ObjectStore
from qc_core.training.checkpoint import read_checkpoint, weights_digest


def promote(
    config: Config,
    folder: Path,
    store: ObjectStore,
    run_id: str | None = None,
    checkpoint: Path | None = None,
    held_out: Path | None = None,
    approved: bool = False,
) -> Promotion:
    """Publish a policy folder as a new version, which is `latest`, and `champion` if it passes.

    Challenger and champion play the same new seeds with the published files until the gate decides
    (`qc_core.publish.gate`). They are compared by success and speed, or by return if the
    environment reports no success. A first champion must reach a minimum success rate. The gate's
    record is stored with the version.

    Without a simulator, champion and challenger are compared by offline figures, and the version
    becomes champion only if a person has approved it.

    A retry of the same run continues where the first attempt stopped: it does not publish the
    version again, unless it adds or omits the signature or the checkpoint.

    Args:
        run_id: the run that publishes, stored with the version; `QC_RUN_ID` takes precedence.
        checkpoint: the checkpoint that the policy was exported from, stored with the version so
            that later trainings can start from it.
        held_out: held-out part of the dataset, for an environment without a simulator.
        approved: a person has decided that the version becomes champion.

    Raises:
        UsageError: the checkpoint is not the policy's own, or the environment has a simulator and
            `approved` is set; or the version is published but cannot be compared: its environment
            cannot be played here, or differs from the champion's.
    """
    name = config.policy_name
    if approved:
        require_no_simulator(read_contract(folder).environment)
    if checkpoint is not None:
        _require_exported_from(checkpoint, folder)
    store.require_writable()
    registry = Registry(store)
    # Publish before comparing, so that a failure from here on does not lose the policy.
    version = _publish(registry, folder, name, provenance.run_id() or run_id, checkpoint)
    gate = gate_record.read_gate_record(store, name, version)
    if gate is None:
        if has_simulator(read_contract(folder).environment):
            gate = challenge(config, registry, folder, version)
        else:
            gate = compare_offline(registry, folder, name, version, held_out)
        gate_record.write_gate_record(store, name, version, gate)
    if approved:
        approve(store, f"{name}:{version}")
    promotion = Promotion(
        name=name,
        version=version,
        store=store.describe(),
        champion=gate.champion or approved,
        became="the champion, approved by a person" if approved else _describe(gate),
        gate=gate,
    )
    log.info(promotion.summary)
    return promotion


def _describe(gate: GateRecord) -> str:
    if gate.champion:
        return "the first champion" if gate.champion_before is None else "the new champion"
    if gate.champion_before is None:
        return "latest, and there is no champion"
    return f"latest, and {gate.champion_before} stays champion"


def _require_exported_from(checkpoint: Path, folder: Path) -> None:
    weights = read_contract(folder).provenance.weights
    read_checkpoint(checkpoint)
    if weights_digest(checkpoint) != weights:
        raise UsageError(f"{folder} was not exported from {checkpoint}: give its own checkpoint")


def _publish(
    registry: Registry, folder: Path, name: str, run_id: str | None, checkpoint: Path | None
) -> str:
    """Return the version with the folder's files: an earlier attempt's, or a new one."""
    key, version = signing_key(), None
    if run_id:
        version = registry.published_by(
            run_id, folder, name, signed=key is not None, checkpoint=checkpoint is not None
        )
    if version is None:
        version = registry.publish(
            folder, name, run_id=run_id, signing_key=key, checkpoint=checkpoint
        )
    # In a retry, another run may have published a newer version: leave `latest` there.
    if version not in registry.alias_history(name, LATEST):
        registry.set_alias(name, LATEST, version)
    return version
