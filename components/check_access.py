"""Checks from inside a pod what steps need; `qc cluster check --run` starts it in the image.

Each line of the output is `ok` or `WRONG`, a topic and a text, separated by tabs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from qc_core.errors import RunError


def main(arguments: Sequence[str]) -> int:
    """Try each access that the arguments name; return how many failed."""
    failed = 0
    for name in arguments:
        try:
            state, text = "ok", _CHECKS[name]()
        except Exception as error:
            state, text = "WRONG", f"{type(error).__name__}: {error}"
            failed += 1
        print(state, f"pod: {name}", " ".join(text.split()), sep="\t", flush=True)
    return failed


def _store() -> str:
    from qc_core.store.open import open_store

    store = open_store()
    store.require_writable()
    return f"{store.describe()} is writable"


def _study() -> str:
    from qc_core.tuning.study import answering, open_storage

    with answering():
        count = len(open_storage("").get_all_studies())
    return f"the study storage answers and has {count} studies"


def _kfp() -> str:
    import urllib3

    answer = urllib3.request("GET", "http://ml-pipeline:8888/apis/v2beta1/healthz", timeout=10)
    if answer.status != 200:
        raise RunError(f"KFP answered with {answer.status}")
    return "KFP's API answers"


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name(0)


_CHECKS: dict[str, Callable[[], str]] = {
    "store": _store,
    "study": _study,
    "kfp": _kfp,
    "gpu": _gpu,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
