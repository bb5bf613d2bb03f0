"""A person's decision that a version without a simulator becomes champion."""

from __future__ import annotations

import getpass
from datetime import datetime, timezone

from qc_core import documents
from qc_core.documents import Document
from qc_core.envs.registry import has_simulator
from qc_core.errors import UsageError
from qc_core.registry.manifest import version_prefix
from qc_core.registry.registry import CHAMPION, Registry
from qc_core.store.objects import ObjectStore


class Approval(Document, frozen=True, kw_only=True):
    """The content of `approval.json` beside a version.

    Attributes:
        policy: NAME:VERSION.
        person: user name of the person on the machine where they approved it.
        time: in UTC, ISO 8601.
    """

    policy: str
    person: str
    time: str


def approve(store: ObjectStore, reference: str) -> Approval:
    """Make a published version champion, and record who decided it.

    Args:
        reference: NAME:VERSION, or NAME@ALIAS.

    Raises:
        UsageError: no such version, or its environment has a simulator, where the gate decides.
    """
    registry = Registry(store)
    details = registry.details(reference)
    require_no_simulator(details.contract.environment)
    name, version = details.manifest.name, details.manifest.version
    approval = Approval(
        policy=f"{name}:{version}",
        person=_user(),
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    store.put(version_prefix(name, version) + "approval.json", documents.encode(approval))
    if registry.alias(name, CHAMPION) != version:
        registry.set_alias(name, CHAMPION, version)
    return approval


def require_no_simulator(environment: str) -> None:
    """Refuse a person's approval where episodes can decide (UsageError)."""
    if has_simulator(environment):
        raise UsageError(
            f"{environment} has a simulator, so the gate decides by episodes: leave out --approve"
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may have a user without a name.
        return "unknown"
