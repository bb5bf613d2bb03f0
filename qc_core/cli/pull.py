"""`qc pull`: download a policy from the store and verify it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from qc_core.cli.arguments import json_argument, output_argument
from qc_core.cli.output import print_json
from qc_core.cli.parser import Parser
from qc_core.scratch import scratch_folder


def arguments(parser: Parser) -> None:
    parser.add_argument("policy", help="NAME, NAME@ALIAS or NAME:VERSION")
    output_argument(parser, "policy folder to write; with --layout triton, the model repository")
    parser.add_argument(
        "--layout",
        choices=("policy", "triton"),
        default="policy",
        help="write the policy folder, or PATH/NAME for Triton Inference Server (policy)",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace a policy that is already at PATH"
    )
    parser.add_argument(
        "--check", action="store_true", help="also run the golden cases on this machine"
    )
    parser.add_argument(
        "--verify-key",
        type=Path,
        metavar="FILE",
        help="refuse a policy that is not signed with this Ed25519 key (public key, PEM)",
    )
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Download and verify a policy; --check also runs its golden cases."""
    from qc_core.files import replaced_folder, staged_folder
    from qc_core.policy_format.policy_folder import CONTRACT
    from qc_core.registry.registry import Registry
    from qc_core.runtime.triton import write_model
    from qc_core.store.open import open_store

    output, key = options.output, options.verify_key
    registry = Registry(open_store())
    golden = None
    if options.layout == "policy":
        folder = output
        writing = (
            replaced_folder(output, CONTRACT, "a policy folder")
            if options.force
            else staged_folder(output)
        )
        with writing as staging:
            name, version = registry.pull(options.policy, staging, verify_key=key)
            golden = _check(staging, options.check)
    else:
        with scratch_folder("pull") as scratch:
            policy = scratch / "policy"
            name, version = registry.pull(options.policy, policy, verify_key=key)
            golden = _check(policy, options.check)
            folder = write_model(policy, output, name, replace=options.force)
    if options.json:
        pulled = {"name": name, "version": version, "folder": str(folder)}
        print_json({**pulled, "signed": key is not None, "golden-cases": golden})
        return
    if golden is not None:
        print(golden)
    signed = f", signed by the owner of {key}" if key is not None else ""
    print(f"pulled {name}:{version} to {folder}, checksums verified{signed}")


def _check(folder: Path, check: bool) -> str | None:
    """Run the golden cases if that is asked for, and return the result in one line."""
    if not check:
        return None
    from qc_core.runtime.golden import check_golden

    return check_golden(folder)
