"""The first step of the pipeline: resolves the configuration and opens the study."""

from __future__ import annotations

import shlex
from pathlib import Path

from qc_core.config.document import write_config
from qc_core.config.resolve import AS_THE_RECIPE, resolve
from qc_core.errors import UsageError
from qc_core.registry.parent import pin_parent
from qc_core.tuning.study import create_study
from qc_core.tuning.trial_checkpoints import study_store

_METHOD = "--train.method"


def prepare(recipe: str, method: str, overrides: str, study_name: str, output: Path) -> list[str]:
    """Write the resolved configuration, open the study and number its workers.

    Args:
        method: name of the method, or `AS_THE_RECIPE`.
        overrides: options as on the command line, `--train.offline-steps 5000 …`.
        study_name: of the study in `QC_STUDY_STORAGE`.
        output: file for the resolved configuration.

    Returns:
        One string per worker, "0", "1", …

    Raises:
        UsageError: an unknown recipe or option, an invalid value, or two methods.
    """
    try:
        argv = shlex.split(overrides)
    except ValueError as error:
        raise UsageError(
            f"the overrides are not a command line ({error}), got {overrides!r}: close the "
            "quotation marks"
        ) from error
    if method != AS_THE_RECIPE:
        if any(argument.split("=")[0] == _METHOD for argument in argv):
            raise UsageError(
                f"the method is given twice, as {method} and in the overrides: choose "
                f"{AS_THE_RECIPE!r}, or leave out {_METHOD}"
            )
        argv = [_METHOD, method, *argv]
    # Every step uses the same parent, also if the champion changes during the run.
    config = pin_parent(resolve(recipe, argv))
    study_store("").require_writable()
    create_study(study_name, "", config)
    write_config(output, config)
    return [str(worker) for worker in range(min(config.tune.workers, config.tune.trials))]
