"""`qc policies` and `qc promote --rollback`: what the store holds, and what goes from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qc_core.cli.lineage import show_lineage
from qc_core.cli.output import estimate, measures, print_json, print_table
from qc_core.documents import convert
from qc_core.envs.episode_result import EpisodeSummary
from qc_core.errors import UsageError
from qc_core.log import printable
from qc_core.policy_format.data_source import sources_in
from qc_core.registry.registry import CHAMPION, Registry
from qc_core.registry.removal import delete_version, prune
from qc_core.statistics import Estimate
from qc_core.store.open import open_store

_UNKNOWN = "unknown"


def policies(words: list[str], keep: int | None, *, as_json: bool) -> None:
    """Do what the words behind `qc policies` say: list, or show, delete or prune one.

    Args:
        keep: how many versions pruning leaves.
    """
    action = words[0] if words else ""
    if (keep is not None) != (action == "prune"):
        raise UsageError(
            "qc policies prune NAME --keep N: --keep says how many newest versions stay"
        )
    if action not in ("show", "lineage", "delete", "prune"):
        if len(words) > 1:
            raise UsageError(
                f"qc policies takes one name, or show, lineage, delete or prune, got {action!r}"
            )
        list_versions(action or None, as_json=as_json)
        return
    if len(words) != 2:
        raise UsageError(f"qc policies {action} takes one policy, got {len(words) - 1}")
    if action == "show":
        show(words[1], as_json=as_json)
    elif action == "lineage":
        show_lineage(words[1], as_json=as_json)
    elif action == "delete":
        delete(words[1], as_json=as_json)
    else:
        prune_versions(words[1], keep or 0, as_json=as_json)


def list_versions(name: str | None, *, as_json: bool) -> None:
    """Print every version, of one name or of all."""
    store = open_store()
    store.check()
    versions = Registry(store).versions(name)
    if as_json:
        print_json([version.as_dict() for version in versions])
        return
    if not versions:
        print(f"no policies in {store.describe()}: qc run cube-single-quickstart makes one")
        return
    print_table(
        ("policy", "version", "aliases", "success", "created (UTC)", "run"),
        [
            (
                v.name,
                v.version,
                " ".join(v.aliases),
                estimate(None if v.success is None else Estimate(**v.success), "{:.0%}"),
                _moment(v.created),
                v.run or "-",
            )
            for v in versions
        ],
    )


def show(reference: str, *, as_json: bool) -> None:
    """Print where a policy comes from and what it is."""
    account = Registry(open_store()).account(reference)
    if as_json:
        print_json(account)
        return
    manifest, contract = account["manifest"], account["contract"]
    provenance = contract.get("provenance", {})
    print_table(
        ("what", "is"),
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
            ("data set", _extent(contract)),
            ("data set digest", contract.get("dataset-digest", _UNKNOWN)),
            *(("data set source", text) for text in _sources(provenance.get("dataset-source"))),
            ("code commit", contract.get("git-commit", _UNKNOWN)),
            ("image", provenance.get("image", _UNKNOWN)),
            ("parent policy", provenance.get("parent") or "none"),
            ("checkpoint", "kept" if manifest["checkpoint"] else "none"),
            ("versions", ", ".join(f"{k} {v}" for k, v in contract.get("versions", {}).items())),
        ],
    )
    print()
    print_table(
        ("alias", "version", "since (UTC)"),
        [row for alias, said in account["aliases"].items() for row in _alias_rows(alias, said)],
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


def delete(reference: str, *, as_json: bool) -> None:
    """Delete one version, named as NAME:VERSION."""
    if ":" not in reference:
        raise UsageError(f"qc policies delete takes NAME:VERSION, got {reference!r}")
    store = open_store()
    name, version = Registry(store).resolve(reference)
    delete_version(store, name, version)
    if as_json:
        print_json({"name": name, "version": version})
    else:
        print(f"deleted {name}:{version}")


def prune_versions(name: str, keep: int, *, as_json: bool) -> None:
    """Delete all but the newest versions of a name, and what was never whole."""
    gone = prune(open_store(), name, keep)
    if as_json:
        print_json(gone.as_dict())
        return
    for version in gone.versions:
        print(f"deleted {name}:{printable(version)}")
    for version in gone.leftovers:
        print(f"deleted {name}:{printable(version)}, which was never whole")
    if not gone.versions and not gone.leftovers:
        print(f"nothing to delete of {name}")


def roll_back(name: str, alias: str | None, *, as_json: bool) -> None:
    """Give an alias the version that it had before; None takes the champion."""
    alias = alias or CHAMPION
    before, after = Registry(open_store()).roll_back(name, alias)
    if as_json:
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
            "takes",
            f"{len(observation)} observations, noise {contract['noise']['shape']}",
        ),
        (
            "gives",
            f"{contract['horizon']} actions of {len(action)} numbers, one per "
            f"{interval:g} s, of which {contract['execution-length']} are played",
        ),
    ]


def _evaluation_rows(contract: Mapping[str, Any]) -> list[tuple[str, str]]:
    evaluation = contract["evaluation"]
    if evaluation is None:
        return [("evaluation", "none")]
    return [
        *(
            (what if what == "success" else f"{what} per episode", text)
            for what, text in measures(_summary(evaluation)).items()
        ),
        (
            "evaluated on",
            f"{evaluation['episodes']} episodes, seeds from {evaluation['first-seed']}",
        ),
    ]


def _summary(evaluation: Mapping[str, Any]) -> EpisodeSummary:
    reports_success = evaluation.get("reports-success", evaluation.get("success-told", True))
    return convert(
        {**evaluation, "reports-success": reports_success}, EpisodeSummary, "policy.json"
    )


def _gate_rows(gate: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if gate is None:
        return [("gate", _UNKNOWN)]
    outcome = "became champion" if gate["champion"] else "did not become champion"
    return [
        ("gate", f"{outcome}: {gate['reason']}"),
        ("played against", gate["champion-before"] or "nobody: there was no champion"),
        ("gate's episodes", f"{gate['episodes']} of at most {gate['max-episodes']}"),
        ("gate's rule", gate["rule"]),
    ]


def _alias_rows(alias: str, said: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    now = (alias, said["version"], _moment(said["updated"]))
    return [now, *(("before", e["version"], _moment(e["updated"])) for e in said["previous"])]


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
    return [_UNKNOWN] if source is None else [json.dumps(entry) for entry in sources_in(source)]


def _moment(iso: str) -> str:
    """To the second, or '-' where it is not known."""
    return iso[:19].replace("T", " ") or "-"
