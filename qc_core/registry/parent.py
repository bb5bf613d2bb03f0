"""The parent policy: a training can start from its weights (warm start)."""

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
    """Return the configuration with the version that `--train.warm-start` names now.

    If it names the champion and there is none yet, training starts from new weights, so that the
    first run of a schedule works.

    Raises:
        UsageError: the policy has no such alias or version, or the version has no checkpoint.
    """
    name, wanted = config.policy_name, config.train.warm_start
    if not wanted:
        return config
    store = open_store()
    alias = Registry(store).alias(name, wanted) if is_name(wanted) else None
    if alias is None and wanted == CHAMPION:
        log.info(f"{name} has no champion yet: training starts from new weights")
        return _with(config, "")
    version = alias or wanted
    try:
        manifest = read_manifest(store, name, version)
    except UsageError as error:
        raise UsageError(
            f"--train.warm-start {wanted}: policy {name!r} has no such alias or version, "
            "`qc policies` lists them"
        ) from error
    if not manifest.checkpoint:
        raise UsageError(
            f"{name}:{version} was published without its checkpoint (`qc promote --checkpoint`): "
            "training cannot start from it, leave out --train.warm-start"
        )
    return _with(config, version)


def parent_of(config: Config) -> str | None:
    """Return NAME:VERSION of the parent, or None; `config` must come from `pin_parent`."""
    return f"{config.policy_name}:{config.train.warm_start}" if config.train.warm_start else None


def fetch_checkpoint(config: Config, output: Path) -> None:
    """Download the parent's checkpoint to a new folder (RunError: it is deleted or altered)."""
    store, prefix = open_store(), checkpoint_prefix(config.policy_name, config.train.warm_start)
    try:
        get_folder(store, prefix, output)
    except NoSuchObject as error:
        raise RunError(f"{parent_of(config)} has just been deleted: start again") from error


def weights_of_parent(config: Config) -> str | None:
    """Return the SHA-256 of the weights that the parent was exported from, None if unknown."""
    details = Registry(open_store()).details(f"{config.policy_name}:{config.train.warm_start}")
    return details.contract.provenance.weights


def _with(config: Config, version: str) -> Config:
    return replace(config, train=replace(config.train, warm_start=version))
