"""`qc policies` and `qc rollback`: list, show, delete and roll back published policies."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from qc_core.cli.arguments import json_argument
from qc_core.cli.lineage import show_lineage
from qc_core.cli.output import estimate, measures, print_json, print_table
from qc_core.cli.parser import Parser
from qc_core.errors import UsageError
from qc_core.log import printable

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
        print_json([version.as_dict() for version in versions])
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
                v.run or "-",
            )
            for v in versions
        ],
    )


def show(options: Namespace) -> None:
    """Print where a policy comes from and what it is."""
    from qc_core.registry.registry import Registry
    from qc_core.store.open import open_store

    account = Registry(open_store()).account(options.policy)
    if options.json:
        print_json(account)
        return
    manifest, contract = account["manifest"], account["contract"]
    provenance = contract.get("provenance", {})
    print_table(
        ("property", "value"),
        [
            ("policy", f"{manifest['name']}:{manifest['version']}"),
            ("created (UTC)", _moment(manifest["created"])),
            ("run", manifest.get("run") or _UNKNOWN),
            ("signature", "signed: see qc pull --verify-key" if account["signed"] else "none"),
            *_contract_rows(contract),
            *_evaluation_rows(contract),
            *_gate_rows(account["gate"]),
            ("recipe", contract.get("recipe", _UNKNOWN)),
            ("seed", str(contract.get("seed", _UNKNOWN))),
            ("offline updates", str(contract.get("offline-steps", _UNKNOWN))),
            ("online steps", str(contract.get("online-steps", _UNKNOWN))),
            ("tuning", _tuning(contract.get("tuning"))),
            ("dataset", _extent(contract)),
            ("dataset digest", contract.get("dataset-digest", _UNKNOWN)),
            *(("dataset source", text) for text in _sources(provenance.get("dataset-source"))),
            ("code commit", contract.get("git-commit", _UNKNOWN)),
            ("image", provenance.get("image", _UNKNOWN)),
            ("parent policy", provenance.get("parent") or "none"),
            ("checkpoint", "stored" if manifest["checkpoint"] else "none"),
            ("versions", ", ".join(f"{k} {v}" for k, v in contract.get("versions", {}).items())),
        ],
    )
    print()
    print_table(
        ("alias", "version", "since (UTC)"),
        [
            row
            for alias, content in account["aliases"].items()
            for row in _alias_rows(alias, content)
        ],
    )
    print()
    print_table(
        ("file", "bytes", "SHA-256"),
        [(file, str(f["bytes"]), f["sha256"]) for file, f in manifest["files"].items()],
    )
    config = provenance.get("config")
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
    gone = prune(open_store(), name, options.keep)
    if options.json:
        print_json(gone.as_dict())
        return
    for version in gone.versions:
        print(f"deleted {name}:{printable(version)}")
    for version in gone.leftovers:
        print(f"deleted {name}:{printable(version)}, an incomplete upload")
    if not gone.versions and not gone.leftovers:
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


def _contract_rows(contract: Mapping[str, Any]) -> list[tuple[str, str]]:
    observation, action = contract["observation"]["names"], contract["action"].get("names", [])
    interval = contract["control-interval-seconds"]
    return [
        ("environment", contract["environment"]),
        ("method", contract["method"]),
        (
            "inputs",
            f"{len(observation)} observations, noise {contract['noise']['shape']}",
        ),
        (
            "output",
            f"{contract['horizon']} actions of {len(action)} numbers, one per "
            f"{interval:g} s, of which {contract['execution-length']} are executed",
        ),
    ]


def _evaluation_rows(contract: Mapping[str, Any]) -> list[tuple[str, str]]:
    evaluation = contract["evaluation"]
    if evaluation is None:
        return [("evaluation", "none")]
    return [
        *(
            (what if what == "success" else f"{what} per episode", text)
            for what, text in measures(evaluation).items()
        ),
        (
            "evaluated on",
            f"{evaluation['episodes']} episodes, seeds from {evaluation['first-seed']}",
        ),
    ]


def _gate_rows(gate: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if gate is None:
        return [("gate result", _UNKNOWN)]
    result = "became champion" if gate["champion"] else "did not become champion"
    return [
        ("gate result", f"{result}: {gate['reason']}"),
        ("gate opponent", gate["champion-before"] or "none: there was no champion"),
        ("gate episodes", f"{gate['episodes']} of at most {gate['episodes-at-most']}"),
        ("gate rule", gate["rule"]),
    ]


def _alias_rows(alias: str, content: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    now = (alias, content["version"], _moment(content["updated"]))
    return [now, *(("before", e["version"], _moment(e["updated"])) for e in content["previous"])]


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


def _tuning(tuning: Mapping[str, Any] | None) -> str:
    if tuning is None:
        return "none"
    return f"trial {tuning['best-trial']} of at most {tuning['trials']}"


def _extent(contract: Mapping[str, Any]) -> str:
    if contract.get("transitions") is None:
        return _UNKNOWN
    return f"{contract['transitions']} transitions in {contract['episodes']} episodes"


def _sources(source: Mapping[str, Any] | None) -> list[str]:
    from qc_core.policy_format.data_source import sources_in

    return [_UNKNOWN] if source is None else [json.dumps(entry) for entry in sources_in(source)]


def _moment(iso: str) -> str:
    """Format a time to the second, or '-' if it is unknown."""
    return iso[:19].replace("T", " ") or "-"
