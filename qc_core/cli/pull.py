"""`qc pull`: download a policy from the store and verify it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from qc_core.cli.arguments import output_argument
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
        "--check", action="store_true", help="also run the golden cases on this machine"
    )
    parser.add_argument(
        "--verify-key",
        type=Path,
        metavar="FILE",
        help="refuse a policy that is not signed with this Ed25519 key (public key, PEM)",
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Download and verify a policy; --check also runs its golden cases."""
    from qc_core.files import staged_folder
    from qc_core.registry.registry import Registry
    from qc_core.runtime.triton import write_model
    from qc_core.store.open import open_store

    output, key = options.output, options.verify_key
    registry = Registry(open_store())
    verified = "checksums verified"
    if key is not None:
        verified += f", signed by the owner of {key}"
    if options.layout == "policy":
        with staged_folder(output) as staging:
            name, version = registry.pull(options.policy, staging, verify_key=key)
            _check(staging, options.check)
        print(f"pulled {name}:{version} to {output}, {verified}")
        return
    with scratch_folder("pull") as scratch:
        folder = scratch / "policy"
        name, version = registry.pull(options.policy, folder, verify_key=key)
        _check(folder, options.check)
        model = write_model(folder, output, name)
    print(f"pulled {name}:{version} to {model}, {verified}")


def _check(folder: Path, check: bool) -> None:
    if check:
        from qc_core.runtime.golden import check_golden

        print(check_golden(folder))
