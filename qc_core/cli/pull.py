"""`qc pull`: a policy from the store, in the form that its consumer reads."""

from __future__ import annotations

import tempfile
from pathlib import Path

from qc_core.store.open import open_store
from qc_core.store.registry import Registry


def pull(reference: str, output: Path, *, layout: str, check: bool) -> None:
    """Fetch and verify a policy; with `check`, also play its golden cases here.

    Args:
        output: the policy folder to write; with the layout `triton` the model repository to
            which the policy is added.
    """
    registry = Registry(open_store())
    if layout == "policy":
        name, version = registry.pull(reference, output)
        print(f"pulled {name}:{version} to {output}, checksums right")
        _check(output, check)
        return
    from qc_core.runtime.triton import write_model

    with tempfile.TemporaryDirectory(prefix="qc-pull-") as scratch:
        folder = Path(scratch) / "policy"
        name, version = registry.pull(reference, folder)
        _check(folder, check)
        model = write_model(folder, output, name)
    print(f"pulled {name}:{version} to {model}, checksums right")


def _check(folder: Path, check: bool) -> None:
    if check:
        from qc_core.runtime.golden import check_golden

        print(check_golden(folder))
