"""What stands before every other step: the resolved configuration and an open study."""

from __future__ import annotations

import shlex
from pathlib import Path

from qc_core.config.document import write_config
from qc_core.config.resolve import AS_THE_RECIPE, resolve
from qc_core.errors import UsageError
from qc_core.registry.parent import pin_parent
from qc_core.tuning.checkpointing import study_store
from qc_core.tuning.study import create_study

_METHOD = "--train.method"


def prepare(recipe: str, method: str, overrides: str, study_name: str, output: Path) -> list[str]:
    """Write the resolved configuration, open the study and name its workers.

    Args:
        method: what learns, or `AS_THE_RECIPE`.
        overrides: options as on the command line, `--train.offline-steps 5000 …`.
        study_name: of the study in `QC_STUDY_STORAGE`.

    Returns:
        One string per worker, "0", "1", …
    """
    try:
        words = shlex.split(overrides)
    except ValueError as error:
        raise UsageError(f"the overrides cannot be read ({error}): {overrides}") from error
    if method != AS_THE_RECIPE:
        if any(word.split("=")[0] == _METHOD for word in words):
            raise UsageError(f"the method is given twice, as {method} and among the overrides")
        words = [_METHOD, method, *words]
    # The same parent in every step, whatever becomes champion meanwhile.
    config = pin_parent(resolve(recipe, words))
    study_store("").require_writable()
    create_study(study_name, "", config)
    write_config(output, config)
    return [str(worker) for worker in range(min(config.tune.workers, config.tune.trials))]
