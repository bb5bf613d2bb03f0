"""`qc episodes`: upload episodes of robots and simulators, and list the uploads."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from qc_core.cli.arguments import json_argument
from qc_core.cli.output import print_json, print_table
from qc_core.cli.parser import Parser
from qc_core.documents import to_json
from qc_core.errors import UsageError


def arguments(parser: Parser) -> None:
    push = parser.add_subcommand("push", "upload npz files of episodes", push_files)
    push.add_argument("files", nargs="+", type=Path, metavar="FILE", help="npz file to upload")
    push.add_argument("--environment", metavar="ID", help="id of the environment")
    push.add_argument(
        "--policy",
        metavar="NAME",
        help="published policy that recorded the episodes, instead of --environment; a robot "
        "without a simulator needs it, because the episodes must match its contract",
    )
    push.add_argument(
        "--control-interval",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="seconds per control step, if the environment does not report it",
    )
    json_argument(push)
    json_argument(parser.add_subcommand("list", "list all uploads", list_uploads))


def push_files(options: Namespace) -> None:
    """Upload files and print the result of each (UsageError after all: a file is invalid)."""
    from qc_core.config.settings import Config
    from qc_core.data.uploads.episodes import push_episodes
    from qc_core.registry.registry import Registry
    from qc_core.store.open import open_store

    store, environment, policy = open_store(), options.environment, options.policy
    if environment is None and policy is None:
        raise UsageError(
            "qc episodes push: give --environment ID, or --policy NAME that recorded the episodes"
        )
    if environment is None:
        environment = Registry(store).details(policy).contract.environment
    config = Config(environment=environment, control_interval=options.control_interval)
    uploads = push_episodes(store, config, options.files, policy)
    if options.json:
        print_json([to_json(upload) for upload in uploads])
    else:
        print_table(
            ("file", "state", "episodes", "key or reason"),
            [(u.file, u.state, str(u.episodes), u.reason or u.key) for u in uploads],
        )
    bad = sum(upload.state == "quarantined" for upload in uploads)
    if bad:
        raise UsageError(
            f"{bad} of {len(uploads)} files are invalid and in quarantine; the others are uploaded"
        )


def list_uploads(options: Namespace) -> None:
    """Print every uploaded file, and why files are in quarantine."""
    from qc_core.data.uploads.episodes import list_episodes
    from qc_core.store.open import open_store

    store = open_store()
    store.check()
    entries = list(list_episodes(store))
    if options.json:
        print_json([to_json(entry) for entry in entries])
    elif not entries:
        print(f"no episodes in {store.describe()}: add some with qc episodes push")
    else:
        print_table(
            ("environment", "key", "reason for quarantine"),
            [(e.environment, e.key, e.reason or "-") for e in entries],
        )
