"""Publish a policy, and make it champion if it passes the gate."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from qc_core.errors import WrongUse
from qc_core.gate.duel import Duel
from qc_core.gate.match import fresh_seeds, hold_match
from qc_core.gate.minimum import Minimum
from qc_core.gate.rule import CHALLENGER
from qc_core.progress import say
from qc_core.provenance import run_name
from qc_core.recipes.config import Config
from qc_core.runtime import ChunkPolicy
from qc_core.runtime.folder import read_contract
from qc_core.store import gate_record
from qc_core.store.objects import ObjectStore
from qc_core.store.registry import CHAMPION, LATEST, Registry
from qc_core.store.signing import signing_key
from qc_core.training.checkpoint import weights_digest

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class PulledPolicy:
    """Opens a policy folder wherever it is called, for worker processes."""

    folder: Path
    execution_horizon: int | None = None

    def __call__(self) -> ChunkPolicy:
        # One worker process per core: none may take the others'.
        threads = None if parent_process() is None else 1
        return ChunkPolicy.load(
            self.folder, threads=threads, execution_horizon=self.execution_horizon
        )


def promote(
    config: Config,
    folder: Path,
    store: ObjectStore,
    run: str | None = None,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Publish a policy folder as a new version, `latest` at once, `champion` if it passes the gate.

    Challenger and champion play the same fresh seeds with the published files, until it is
    clear which is better (`qc_core.gate`). Without a champion it must reach a minimum. What came
    of it is kept with the version.

    Args:
        run: the pipeline's run, kept with the version; `QC_RUN` goes before it.
        checkpoint: what the policy was exported from, kept with the version for trainings that
            begin with it.

    Raises:
        WrongUse: published, but its environment cannot be played here, or is not the champion's.
    """
    name = config.policy_name
    if checkpoint is not None:
        _require_exported_from(checkpoint, folder)
    store.require_writable()
    registry = Registry(store)
    # Published before it is compared: nothing that goes wrong from here on loses the policy.
    version = registry.publish(
        folder,
        name,
        run=run_name() or run,
        signing_key=signing_key(),
        checkpoint=checkpoint,
    )
    registry.set_alias(name, LATEST, version)
    # Where another run makes a champion meanwhile, that is the one to beat.
    while True:
        incumbent = registry.alias(name, CHAMPION)
        try:
            match = _match(config, registry, folder, version, incumbent)
        except WrongUse as error:
            raise WrongUse(f"{name}:{version} is published, but not compared: {error}") from error
        passed = match["decision"] == "passed"
        if passed:
            settled = registry.replace_alias(name, CHAMPION, version, incumbent)
        else:
            settled = registry.alias(name, CHAMPION) == incumbent
        if settled:
            break
    gate = {
        "schema-version": gate_record.SCHEMA_VERSION,
        "champion": passed,
        "champion-before": incumbent,
        **match,
    }
    gate_record.write_gate_record(store, name, version, gate)
    if passed:
        became = "the first champion" if incumbent is None else "the new champion"
    else:
        stays = "there is no champion" if incumbent is None else f"{incumbent} stays champion"
        became = f"latest, and {stays}"
    say(f"{name}:{version} is {became}: {gate['reason']}")
    return {
        "schema-version": SCHEMA_VERSION,
        "name": name,
        "version": version,
        "store": store.describe(),
        "champion": passed,
        "became": became,
        "gate": gate,
    }


def _require_exported_from(checkpoint: Path, folder: Path) -> None:
    weights = read_contract(folder).get("provenance", {}).get("weights")
    if weights_digest(checkpoint) != weights:
        raise WrongUse(f"{folder} was not exported from {checkpoint}: give its own checkpoint")


def _match(
    config: Config, registry: Registry, folder: Path, version: str, incumbent: str | None
) -> dict[str, Any]:
    """What the gate says of a version against the champion, or without one."""
    contract, publish = read_contract(folder), config.publish
    environment, limit = contract["environment"], contract["episode-limit"]
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
        if read_contract(champion)["environment"] != environment:
            raise WrongUse(
                f"the champion of {config.policy_name!r} plays another environment than "
                f"{environment}: give --publish.name another name"
            )
        margin = publish.margin if publish.gate == "not-worse" else 0.0
        rule = Duel(limit, margin, len(seeds))
        policies = {CHAMPION: PulledPolicy(champion), **policies}
        return hold_match(rule, environment, limit, policies, seeds, workers=workers)


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
