"""Processes that publish, promote and pull at the same time, as pipeline runs do.

python -m tests.qc_core.registry.promoter FOLDER PROCESSES COUNT prints a JSON list with the results
of the policies of seeds 0 to COUNT - 1. The processes are forks, because imports are slow.
"""

import json
import multiprocessing
import sys
from functools import partial
from pathlib import Path
from typing import Any

from qc_core.registry.registry import Registry
from qc_core.store.open import open_store
from tests.qc_core.registry.policy_folders import seed_of, write_policy


def promote(folder: Path, seed: int) -> dict[str, Any]:
    """Publish a policy, try to make it champion, pull the champion; return what happened."""
    registry = Registry(open_store())
    incumbent = registry.alias("cube", "champion")
    version = registry.publish(write_policy(folder / f"{seed}", seed), "cube", run_id=str(seed))
    registry.set_alias("cube", "latest", version)
    won = registry.replace_alias("cube", "champion", version, incumbent)
    pulled = folder / f"pulled-{seed}"
    _, found = registry.pull("cube@champion", pulled)
    return {
        "process": multiprocessing.current_process().pid,
        "version": version,
        "seed": seed,
        "won": won,
        "pulled-version": found,
        "pulled-seed": seed_of(pulled),
    }


def main(folder: Path, processes: int, count: int) -> None:
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        done = pool.map(partial(promote, folder), range(count), chunksize=1)
    print(json.dumps(done))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
