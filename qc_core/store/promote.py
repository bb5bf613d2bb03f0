"""Publish a policy, and make it champion if it beats the one that is."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from qc_core.envs.play import play_episodes
from qc_core.errors import WrongUse
from qc_core.progress import say
from qc_core.provenance import run_name
from qc_core.recipes.config import Config
from qc_core.runtime import ChunkPolicy
from qc_core.runtime.folder import read_contract
from qc_core.seeds import seeds_for
from qc_core.statistics import mean
from qc_core.store.gate_record import write_gate_record
from qc_core.store.objects import ObjectStore
from qc_core.store.registry import CHAMPION, LATEST, Registry
from qc_core.store.signing import signing_key
from qc_core.training.checkpoint import weights_digest
from qc_core.training.evaluate import counted_steps, summarize

SCHEMA_VERSION = 1
_CHALLENGER = "challenger"


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
    """Publish a policy folder as a new version, `latest` at once, `champion` if it is better.

    Challenger and champion play the same fresh seeds with the published files. The challenger
    is better when it needs fewer steps per episode, a failure counting the limit, by more
    than the 95% interval of the paired differences. Without a champion it becomes one.

    Args:
        run: the pipeline's run, kept with the version; `QC_RUN` goes before it.
        checkpoint: what the policy was exported from, kept with the version for trainings that
            begin with it.
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
        verdict: dict[str, Any] = {}
        if incumbent is not None:
            verdict = _duel(config, registry, folder, incumbent)
        better = incumbent is None or verdict["steps-saved"]["low"] > 0
        if better:
            settled = registry.replace_alias(name, CHAMPION, version, incumbent)
        else:
            settled = registry.alias(name, CHAMPION) == incumbent
        if settled:
            break
    content = {
        "schema-version": SCHEMA_VERSION,
        "name": name,
        "version": version,
        "store": store.describe(),
        "champion": better,
        "champion-before": incumbent,
        **verdict,
    }
    if incumbent is None:
        reason = "the first champion"
    elif better:
        reason = f"the new champion, {verdict['steps-saved']['value']:.1f} steps faster"
    else:
        reason = f"latest; {incumbent} stays champion"
    gate = {"champion": better, "champion-before": incumbent, "reason": reason, **verdict}
    write_gate_record(store, name, version, gate)
    say(f"{name}:{version} is {reason}")
    return content


def _require_exported_from(checkpoint: Path, folder: Path) -> None:
    weights = read_contract(folder).get("provenance", {}).get("weights")
    if weights_digest(checkpoint) != weights:
        raise WrongUse(f"{folder} was not exported from {checkpoint}: give its own checkpoint")


def _duel(config: Config, registry: Registry, challenger: Path, incumbent: str) -> dict[str, Any]:
    name = config.policy_name
    with tempfile.TemporaryDirectory(prefix="qc-champion-") as scratch:
        champion = Path(scratch) / "champion"
        registry.pull(f"{name}:{incumbent}", champion)
        return _compare(config, challenger, champion, len(registry.versions(name)))


def _compare(config: Config, challenger: Path, champion: Path, versions: int) -> dict[str, Any]:
    contract = read_contract(challenger)
    environment, limit = contract["environment"], contract["episode-limit"]
    if read_contract(champion)["environment"] != environment:
        raise WrongUse(
            f"published, but the champion of {config.policy_name!r} plays another environment "
            f"than {environment}: give --publish.name another name"
        )
    # Other episodes at every promotion: no champion is chosen for luck with a few.
    episodes = config.publish.gate_episodes
    seeds = seeds_for("gate", config.seed, episodes, offset=versions * episodes)
    played = play_episodes(
        environment,
        {CHAMPION: PulledPolicy(champion), _CHALLENGER: PulledPolicy(challenger)},
        seeds,
        workers=min(config.evaluate.workers, len(seeds)),
    )
    held, tried = played[CHAMPION], played[_CHALLENGER]
    saved = [
        counted_steps(h, limit) - counted_steps(t, limit) for h, t in zip(held, tried, strict=True)
    ]
    return {
        "champion-result": summarize(held, limit),
        "challenger-result": summarize(tried, limit),
        "steps-saved": mean(saved)._asdict(),
    }
