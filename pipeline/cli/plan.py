"""Checks a run that will start on another machine, as far as this machine can."""

from __future__ import annotations

from importlib.util import find_spec

from qc_core.config.settings import Config
from qc_core.data.formats.claims import claim_of, is_claim
from qc_core.data.formats.locate import is_path
from qc_core.errors import UsageError
from qc_core.log import log
from qc_core.policy_format.environment_spec import package_of


def check_plan(config: Config) -> None:
    """Try the environment if it is installed here, and print what the run will do to stderr.

    Raises:
        UsageError: the environment cannot be played, the method cannot learn without it, or a
            source is a path of this machine.
    """
    require_visible_sources(config)
    package = package_of(config.environment)
    for needed in ("ogbench", package and package.partition(".")[0]):
        if needed and not _is_installed(needed):
            log.info(f"{config.environment} is checked when the run starts: {needed} is not here")
            return
    from qc_core.training.plan import plan_run

    for note in plan_run(config).notes:
        log.info(note)


def require_visible_sources(config: Config) -> None:
    """Refuse sources that no pod can see (UsageError: one is a path of this machine)."""
    for source in config.data.source:
        if is_path(source):
            raise UsageError(
                f"--data {source} is a path of this machine, which no pod can see: give --upload "
                f"{source} instead, s3://bucket/path or pvc://CLAIM/path"
            )


def claims_of(config: Config) -> list[str]:
    """Return the names of the sources' volume claims (UsageError: one is invalid)."""
    return sorted({claim_of(source) for source in config.data.source if is_claim(source)})


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
