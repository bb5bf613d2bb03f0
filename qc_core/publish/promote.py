"""Publish a policy, and make it champion if it passes the gate."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qc_core import documents
from qc_core.config.settings import Config
from qc_core.errors import UsageError
from qc_core.log import log
from qc_core.policy_format.policy_folder import read_contract
from qc_core.provenance import run_id
from qc_core.publish.gate.duel import Duel
from qc_core.publish.gate.match import fresh_seeds, hold_match
from qc_core.publish.gate.minimum import Minimum
from qc_core.publish.gate.returns import ReturnDuel
from qc_core.publish.gate.rule import CHALLENGER
from qc_core.registry import gate_record
from qc_core.registry.registry import CHAMPION, LATEST, Registry
from qc_core.registry.signing import signing_key
from qc_core.runtime.pulled_policy import PulledPolicy
from qc_core.store.objects import ObjectStore
from qc_core.training.checkpoint import read_checkpoint, weights_digest

SCHEMA_VERSION = 2


def promote(
    config: Config,
    folder: Path,
    store: ObjectStore,
    run: str | None = None,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Publish a policy folder as a new version, `latest` at once, `champion` if it passes the gate.

    Challenger and champion play the same fresh seeds with the published files, until it is
    clear which is better (`qc_core.publish.gate`), by success and speed, or by return where the
    environment tells no success. Without a champion it must reach a minimum. What came of it is
    kept with the version. Begun again by the same run, it goes on where it broke off: the version
    that is there is not published twice, unless it is to be signed or have its checkpoint now and
    was not or had not, or the other way round.

    Args:
        run: the pipeline's run, kept with the version; `QC_RUN_ID` has precedence.
        checkpoint: what the policy was exported from, kept with the version for trainings that
            begin with it.

    Raises:
        UsageError: published, but its environment cannot be played here, or is not the champion's.
    """
    name = config.policy_name
    if checkpoint is not None:
        _require_exported_from(checkpoint, folder)
    store.require_writable()
    registry = Registry(store)
    # Published before it is compared: nothing that goes wrong from here on loses the policy.
    version = _publish(registry, folder, name, run_id() or run, checkpoint)
    gate = gate_record.read_gate_record(store, name, version)
    if gate is None:
        gate = _settle(config, registry, folder, version)
        gate_record.write_gate_record(store, name, version, gate)
    passed, incumbent = gate.champion, gate.champion_before
    if passed:
        became = "the first champion" if incumbent is None else "the new champion"
    else:
        stays = "there is no champion" if incumbent is None else f"{incumbent} stays champion"
        became = f"latest, and {stays}"
    promotion = {
        "schema-version": SCHEMA_VERSION,
        "name": name,
        "version": version,
        "store": store.describe(),
        "champion": passed,
        "became": became,
        "gate": documents.to_json(gate),
    }
    log.info(in_words(promotion))
    return promotion


def in_words(promotion: Mapping[str, Any]) -> str:
    """What came of a promotion, in a line."""
    name, version, became = promotion["name"], promotion["version"], promotion["became"]
    return f"{name}:{version} is {became}: {promotion['gate']['reason']}"


def _require_exported_from(checkpoint: Path, folder: Path) -> None:
    weights = read_contract(folder).provenance.weights
    read_checkpoint(checkpoint)
    if weights_digest(checkpoint) != weights:
        raise UsageError(f"{folder} was not exported from {checkpoint}: give its own checkpoint")


def _publish(
    registry: Registry, folder: Path, name: str, run: str | None, checkpoint: Path | None
) -> str:
    """The version that holds the folder, and that `latest` names or has named."""
    key, version = signing_key(), None
    if run:
        # One without the signature or the checkpoint that is asked for now is another.
        version = registry.published_by(
            run, folder, name, signed=key is not None, checkpoint=checkpoint is not None
        )
    if version is None:
        version = registry.publish(folder, name, run_id=run, signing_key=key, checkpoint=checkpoint)
    # Begun again, it is not the latest any more if another was published meanwhile.
    if version not in registry.alias_history(name, LATEST):
        registry.set_alias(name, LATEST, version)
    return version


def _settle(
    config: Config, registry: Registry, folder: Path, version: str
) -> gate_record.GateRecord:
    """Let a version play for the champion's place, and take it if it passes; the gate's record."""
    name = config.policy_name
    # Where another run makes a champion meanwhile, that is the one to beat.
    while True:
        # Begun again after it became champion, it plays once more against the one before.
        incumbent = next((v for v in registry.alias_history(name, CHAMPION) if v != version), None)
        try:
            match = _match(config, registry, folder, version, incumbent)
        except UsageError as error:
            raise UsageError(f"{name}:{version} is published, but not compared: {error}") from error
        passed = match["decision"] == "passed"
        moved = passed and registry.replace_alias(name, CHAMPION, version, incumbent)
        settled = (version,) if passed else (version, incumbent)
        if moved or registry.alias(name, CHAMPION) in settled:
            return documents.convert(
                {"champion": passed, "champion-before": incumbent, **match},
                gate_record.GateRecord,
                "the gate record",
            )


def _match(
    config: Config, registry: Registry, folder: Path, version: str, incumbent: str | None
) -> dict[str, Any]:
    """What the gate says of a version against the champion, or without one."""
    contract, publish = read_contract(folder), config.publish
    environment, limit = contract.environment, contract.episode_limit
    if incumbent is None and publish.minimum_success == 0:
        return _unasked(environment, limit)
    seeds = fresh_seeds(f"{config.policy_name}:{version} {incumbent}", publish.gate_episodes)
    policies = {CHALLENGER: PulledPolicy(folder)}
    workers = min(config.evaluate.workers, len(seeds))
    if incumbent is None:
        rule = Minimum(publish.minimum_success)
        return hold_match(rule, environment, limit, policies, seeds, workers=workers)
    with tempfile.TemporaryDirectory(prefix="qc-champion-") as scratch:
        champion = Path(scratch) / "champion"
        registry.pull(f"{config.policy_name}:{incumbent}", champion)
        if read_contract(champion).environment != environment:
            raise UsageError(
                f"the champion of {config.policy_name!r} plays another environment than "
                f"{environment}: give --publish.name another name"
            )
        margin = publish.margin if publish.gate == "not-worse" else 0.0
        rule = Duel(limit, margin, len(seeds))
        policies = {CHAMPION: PulledPolicy(champion), **policies}
        untold = ReturnDuel(margin)
        return hold_match(rule, environment, limit, policies, seeds, workers=workers, untold=untold)


def _unasked(environment: str, limit: int) -> dict[str, Any]:
    """The account of a match that was not played, since no minimum was set."""
    return {
        "rule": "a first champion: no minimum is asked of it",
        "decision": "passed",
        "reason": "no minimum was asked of it",
        "environment": environment,
        "episode-limit": limit,
        "episodes": 0,
        "episodes-at-most": 0,
        "results": {},
    }
