"""`qc policies` and `qc rollback`: list, show, delete and roll back published policies."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qc_core import documents
from qc_core.cli.arguments import json_argument
from qc_core.cli.lineage import show_lineage
from qc_core.cli.output import print_json, print_table
from qc_core.cli.parser import Parser
from qc_core.errors import UsageError
from qc_core.log import printable
from qc_core.policy_format.contract import Contract, TuningSummary
from qc_core.policy_format.data_source import DataSource
from qc_core.readable import estimate, measures

if TYPE_CHECKING:
    from qc_core.registry.aliases import Alias
    from qc_core.registry.gate_record import GateRecord

_UNKNOWN = "unknown"


def arguments(parser: Parser) -> None:
    listing = parser.add_subcommand("list", "list the versions of all policies or of one", list_all)
    listing.add_argument("name", nargs="?", help="name of a policy (all)")
    details = parser.add_subcommand("show", "show where a policy comes from", show)
    lineage = parser.add_subcommand("lineage", "show a policy and its parents", show_lineage)
    for subcommand in (details, lineage):
        subcommand.add_argument("policy", help="NAME, NAME@ALIAS or NAME:VERSION")
    deletion = parser.add_subcommand("delete", "delete a version that no alias names", delete)
    deletion.add_argument("policy", metavar="NAME:VERSION", help="the version to delete")
    pruning = parser.add_subcommand("prune", "delete all but the newest versions", prune_versions)
    pruning.add_argument("name", help="name of a policy")
    pruning.add_argument(
        "--keep", type=int, required=True, metavar="N", help="number of newest versions to keep"
    )
    for subcommand in (listing, details, lineage, deletion, pruning):
        json_argument(subcommand)
    parser.set_default_subcommand("list")


def rollback_arguments(parser: Parser) -> None:
    parser.add_argument("name", help="name of a policy")
    parser.add_argument("--alias", default="champion", help="alias to move (champion)")
    json_argument(parser)
    parser.set_defaults(run=roll_back)


def list_all(options: Namespace) -> None:
    """Print every version of one policy or of all policies."""
    from qc_core.registry.registry import Registry
    from qc_core.store.open import open_store

    store = open_store()
    store.check()
    versions = Registry(store).versions(options.name)
    if options.json:
        print_json([documents.to_json(version) for version in versions])
        return
    if not versions:
        print(f"no policies in {store.describe()}: create one with qc run cube-single-quickstart")
        return
    print_table(
        ("policy", "version", "aliases", "success", "created (UTC)", "run"),
        [
            (
                v.name,
                v.version,
                " ".join(v.aliases),
                estimate(v.success, "{:.0%}"),
                _moment(v.created),
                v.run_id or "-",
            )
            for v in versions
        ],
    )


def show(options: Namespace) -> None:
    """Print where a policy comes from and what it is."""
    from qc_core.registry.registry import Registry
    from qc_core.store.open import open_store

    details = Registry(open_store()).details(options.policy)
    if options.json:
        print_json(documents.to_json(details))
        return
    manifest, contract = details.manifest, details.contract
    provenance = contract.provenance
    print_table(
        ("property", "value"),
        [
            ("policy", f"{manifest.name}:{manifest.version}"),
            ("created (UTC)", _moment(manifest.created)),
            ("run", manifest.run_id or _UNKNOWN),
            ("signature", "signed: see qc pull --verify-key" if details.signed else "none"),
            *_contract_rows(contract),
            *_evaluation_rows(contract),
            *_gate_rows(details.gate),
            ("recipe", contract.recipe or _UNKNOWN),
            ("seed", _known(contract.seed)),
            ("offline updates", _known(contract.offline_steps)),
            ("online steps", _known(contract.online_steps)),
            ("tuning", _tuning(contract.tuning)),
            ("dataset", _extent(contract)),
            ("dataset digest", contract.dataset_digest or _UNKNOWN),
            *(("dataset source", text) for text in _sources(provenance.dataset_source)),
            ("code commit", contract.git_commit or _UNKNOWN),
            ("image", provenance.image or _UNKNOWN),
            ("parent policy", provenance.parent or "none"),
            ("checkpoint", "stored" if manifest.checkpoint else "none"),
            ("versions", ", ".join(f"{k} {v}" for k, v in contract.versions.items())),
        ],
    )
    print()
    print_table(
        ("alias", "version", "since (UTC)"),
        [row for name, alias in details.aliases.items() for row in _alias_rows(name, alias)],
    )
    print()
    print_table(
        ("file", "bytes", "SHA-256"),
        [(file, str(f.bytes), f.sha256) for file, f in manifest.files.items()],
    )
    config = provenance.config
    print("\nconfiguration" + (f": {_UNKNOWN}" if config is None else ""))
    if config is not None:
        print_table(("option", "value"), _options(config))


def delete(options: Namespace) -> None:
    """Delete one version, named as NAME:VERSION."""
    from qc_core.registry.registry import Registry
    from qc_core.registry.removal import delete_version
    from qc_core.store.open import open_store

    if ":" not in options.policy:
        raise UsageError(f"qc policies delete takes NAME:VERSION, got {options.policy!r}")
    store = open_store()
    name, version = Registry(store).resolve(options.policy)
    delete_version(store, name, version)
    if options.json:
        print_json({"name": name, "version": version})
    else:
        print(f"deleted {name}:{version}")


def prune_versions(options: Namespace) -> None:
    """Delete all but the newest versions of a policy, and uploads that were interrupted."""
    from qc_core.registry.removal import prune
    from qc_core.store.open import open_store

    name = options.name
    pruned = prune(open_store(), name, options.keep)
    if options.json:
        print_json(documents.to_json(pruned))
        return
    for version in pruned.versions:
        print(f"deleted {name}:{printable(version)}")
    for version in pruned.leftovers:
        print(f"deleted {name}:{printable(version)}, an incomplete upload")
    if not pruned.versions and not pruned.leftovers:
        print(f"nothing to delete for {name}")


def roll_back(options: Namespace) -> None:
    """Point an alias at the version that it named before."""
    from qc_core.registry.registry import Registry
    from qc_core.store.open import open_store

    name, alias = options.name, options.alias
    before, after = Registry(open_store()).roll_back(name, alias)
    if options.json:
        print_json({"name": name, "alias": alias, "from": before, "to": after})
    else:
        print(f"{name}@{alias}: from {before} back to {after}")


def _contract_rows(contract: Contract) -> list[tuple[str, str]]:
    interval = contract.control_interval_seconds
    return [
        ("environment", contract.environment),
        ("method", contract.method),
        (
            "inputs",
            f"{contract.observation_size} observations, noise {list(contract.noise.shape)}",
        ),
        (
            "output",
            f"{contract.chunk_length} actions of {contract.action_size} numbers, one per "
            f"{interval:g} s, of which {contract.execution_horizon} are executed",
        ),
    ]


def _evaluation_rows(contract: Contract) -> list[tuple[str, str]]:
    evaluation = contract.evaluation
    if contract.held_out is not None:
        fit = f"log-likelihood {contract.held_out.fit} per number"
        return [("offline figures", f"{fit}, {contract.held_out.episodes} held-out episodes")]
    if evaluation is None:
        return [("evaluation", "none")]
    return [
        *(
            (what if what == "success" else f"{what} per episode", text)
            for what, text in measures(evaluation).items()
        ),
        (
            "evaluated on",
            f"{evaluation.episodes} episodes, seeds from {evaluation.first_seed}",
        ),
    ]


def _gate_rows(gate: GateRecord | None) -> list[tuple[str, str]]:
    if gate is None:
        return [("gate result", _UNKNOWN)]
    result = "became champion" if gate.champion else "did not become champion"
    return [
        ("gate result", f"{result}: {gate.reason}"),
        ("gate opponent", gate.champion_before or "none: there was no champion"),
        ("gate episodes", f"{gate.episodes} of at most {gate.max_episodes}"),
        ("gate rule", gate.rule),
    ]


def _alias_rows(name: str, alias: Alias) -> list[tuple[str, str, str]]:
    now = (name, alias.version or "-", _moment(alias.updated or ""))
    return [now, *(("before", e.version, _moment(e.updated)) for e in alias.previous)]


def _options(config: Mapping[str, Any], prefix: str = "--") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in config.items():
        if isinstance(value, dict):
            rows += _options(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            rows.append((prefix + name, " ".join(map(str, value))))
        elif (prefix, name) != ("--", "recipe"):
            rows.append((prefix + name, str(value)))
    return rows


def _tuning(tuning: TuningSummary | None) -> str:
    if tuning is None:
        return "none"
    return f"trial {tuning.best_trial} of at most {tuning.trials}"


def _extent(contract: Contract) -> str:
    if contract.transitions is None:
        return _UNKNOWN
    return f"{contract.transitions} transitions in {contract.episodes} episodes"


def _known(number: int | None) -> str:
    return _UNKNOWN if number is None else str(number)


def _sources(source: DataSource | None) -> list[str]:
    if source is None:
        return [_UNKNOWN]
    return [json.dumps(documents.to_json(part)) for part in source.parts]


def _moment(iso: str) -> str:
    """Format a time to the second, or '-' if it is unknown."""
    return iso[:19].replace("T", " ") or "-"
