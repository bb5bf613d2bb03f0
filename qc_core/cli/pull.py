"""`qc pull`: a policy from the store, in the form that its consumer reads."""

from __future__ import annotations

import tempfile
from pathlib import Path

from qc_core.files import staged_folder
from qc_core.registry.registry import Registry
from qc_core.store.open import open_store


def pull(
    reference: str, output: Path, *, layout: str, check: bool, verify_key: Path | None
) -> None:
    """Fetch and verify a policy; with `check`, also play its golden cases here.

    Args:
        output: the policy folder to write; with the layout `triton` the model repository to
            which the policy is added.
        verify_key: PEM file of the public key whose owner must have signed the policy.
    """
    registry = Registry(open_store())
    right = "checksums right"
    if verify_key is not None:
        right += f", signed by the owner of {verify_key}"
    if layout == "policy":
        with staged_folder(output) as staging:
            name, version = registry.pull(reference, staging, verify_key=verify_key)
            _check(staging, check)
        print(f"pulled {name}:{version} to {output}, {right}")
        return
    from qc_core.runtime.triton import write_model

    with tempfile.TemporaryDirectory(prefix="qc-pull-") as scratch:
        folder = Path(scratch) / "policy"
        name, version = registry.pull(reference, folder, verify_key=verify_key)
        _check(folder, check)
        model = write_model(folder, output, name)
    print(f"pulled {name}:{version} to {model}, {right}")


def _check(folder: Path, check: bool) -> None:
    if check:
        from qc_core.runtime.golden import check_golden

        print(check_golden(folder))
