"""The policy whose weights a training begins with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qc_core.config.settings import Config
from qc_core.errors import RunError, UsageError
from qc_core.log import log
from qc_core.names import is_name
from qc_core.registry.manifest import checkpoint_prefix, read_manifest
from qc_core.registry.registry import CHAMPION, Registry
from qc_core.store.bundle import get_folder
from qc_core.store.objects import NoSuchObject
from qc_core.store.open import open_store


def pin_parent(config: Config) -> Config:
    """The configuration with the version that `--train.warm-start` names now.

    Where it names the champion and there is none yet, training begins anew, so that a schedule
    works from its first run on.

    Raises:
        UsageError: the policy has no such alias or version, or it has no checkpoint.
    """
    name, wanted = config.policy_name, config.train.warm_start
    if not wanted:
        return config
    store = open_store()
    alias = Registry(store).alias(name, wanted) if is_name(wanted) else None
    if alias is None and wanted == CHAMPION:
        log.info(f"{name} has no champion yet: training begins anew")
        return _with(config, "")
    version = alias or wanted
    try:
        manifest = read_manifest(store, name, version)
    except UsageError as error:
        raise UsageError(
            f"--train.warm-start {wanted}: policy {name!r} has no such alias or version, "
            "`qc policies` lists them"
        ) from error
    if not manifest["checkpoint"]:
        raise UsageError(
            f"{name}:{version} was published without its checkpoint (`qc promote --checkpoint`): "
            "training cannot begin with it, leave out --train.warm-start"
        )
    return _with(config, version)


def parent_of(config: Config) -> str | None:
    """NAME:VERSION, or None, of a configuration that `pin_parent` has been at."""
    return f"{config.policy_name}:{config.train.warm_start}" if config.train.warm_start else None


def fetch_checkpoint(config: Config, output: Path) -> None:
    """The parent's checkpoint in a new folder (RunError: it is gone or altered)."""
    store, prefix = open_store(), checkpoint_prefix(config.policy_name, config.train.warm_start)
    try:
        get_folder(store, prefix, output)
    except NoSuchObject as error:
        raise RunError(f"{parent_of(config)} was deleted meanwhile: start again") from error


def weights_of_parent(config: Config) -> str | None:
    """SHA-256 of the weights that the parent's policy was exported from, as its contract says."""
    account = Registry(open_store()).account(f"{config.policy_name}:{config.train.warm_start}")
    return account["contract"].get("provenance", {}).get("weights")


def _with(config: Config, version: str) -> Config:
    return replace(config, train=replace(config.train, warm_start=version))
