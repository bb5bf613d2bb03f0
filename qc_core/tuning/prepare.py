"""The first step of the pipeline: resolves the configuration and opens the study."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from qc_core.config.document import write_config
from qc_core.config.resolve import AS_THE_RECIPE, resolve
from qc_core.config.settings import Config
from qc_core.data.ingest import check_sources
from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL
from qc_core.errors import UsageError
from qc_core.log import log
from qc_core.registry.parent import pin_parent
from qc_core.registry.registry import CHAMPION, Registry
from qc_core.results.run_record import (
    record_of,
    require_record,
    require_same_training,
    with_parent_of,
    write_record,
)
from qc_core.store.open import open_store
from qc_core.training.plan import Plan, plan_run
from qc_core.tuning.study import create_study, study_store

_METHOD = "--train.method"


def prepare(
    recipe: str, method: str, overrides: str, run_id: str, output: Path, continues: str = ""
) -> list[str]:
    """Write the resolved configuration, open the study and number its workers.

    Args:
        method: name of the method, or `AS_THE_RECIPE`.
        overrides: options as on the command line, `--train.offline-steps 5000 …`.
        run_id: of the run, and name of its study in `QC_STUDY_STORAGE`.
        output: file for the resolved configuration.
        continues: id of an earlier run, whose study and finished results this run takes over; its
            configuration must be the same, but it may have more trials.

    Returns:
        One string per worker, "0", "1", …

    Raises:
        UsageError: an unknown recipe or option, an invalid value, or two methods; a source that
            does not exist; an environment that cannot be played, or never reports the success
            that the gate needs; an earlier run that does not exist or trained with other options.
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
    config, store = resolve(recipe, argv), open_store()
    earlier = require_record(store, continues) if continues else None
    if earlier is not None:
        config = with_parent_of(earlier, config, store)
    config = pin_parent(config)
    check_sources(config)
    plan = plan_run(config)
    for note in plan.notes:
        log.info(note)
    config = plan.config
    study_store("").require_writable()
    _require_reachable_gate(config, plan)
    record = record_of(config, run_id)
    if earlier is not None:
        require_same_training(earlier, config, continues)
        record = msgspec.structs.replace(record, study=earlier.study, continues=continues)
    create_study(record.study, "", config, plan.reports_success)
    write_record(store, run_id, record)
    write_config(output, config)
    # KFP's loop needs an item, also for a run without trials.
    return [str(worker) for worker in range(max(1, min(config.tune.workers, config.tune.trials)))]


def _require_reachable_gate(config: Config, plan: Plan) -> None:
    """Refuse a minimum success rate that the environment can never show (UsageError)."""
    publish = config.publish
    if plan.reports_success is not False or publish.minimum_success == 0:
        return
    if Registry(open_store()).alias(config.policy_name, CHAMPION) is None:
        raise UsageError(
            f"--publish.minimum-success is {publish.minimum_success:g}, but {config.environment} "
            f"{NO_SUCCESS_SIGNAL}, so no policy could become the first champion: give "
            "--publish.minimum-success 0, or report success in the environment"
        )
