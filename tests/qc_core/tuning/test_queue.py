"""Each planned trial gets one result, also if workers die."""

import re
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import TrialState

from qc_core.config.settings import Config
from qc_core.errors import RunError, UsageError
from qc_core.tuning import patience, queue
from qc_core.tuning.optuna_private import heartbeats
from qc_core.tuning.queue import finish, requeue_lost, take_trial
from qc_core.tuning.slots import ATTEMPT, CHECKPOINT_STEP, REASON, SLOT
from qc_core.tuning.study import Heartbeat, answering, create_study, load_study, suggest
from qc_core.tuning.trials import read_trials
from tests.qc_core.tuning.conftest import PASSWORD, PostgreSQL

# Shorter than a test, so that waiting workers soon look again.
QUICK = Heartbeat(interval=1, grace=60)


@pytest.fixture
def name(database: PostgreSQL, config: Config, tmp_path: Path) -> str:
    """A study of two trials in the database."""
    create_study(tmp_path.name, "", config)
    return tmp_path.name


def join(name: str) -> optuna.Study:
    return load_study(name, "", QUICK)


def take(study: optuna.Study, worker: int = 0) -> optuna.Trial:
    trial = take_trial(study, 0, worker)
    assert trial is not None
    return trial


def slots(study: optuna.Study) -> list[tuple[int, int, str]]:
    return [
        (trial.user_attrs[SLOT], trial.user_attrs[ATTEMPT], trial.state.name)
        for trial in study.trials
    ]


def test_a_trial_whose_worker_died_is_retried_with_its_parameters(
    name: str, database: PostgreSQL, config: Config
) -> None:
    study = join(name)
    finish(study, take(study), TrialState.COMPLETE, 0.5)
    lost = take(study, worker=1)
    drawn = suggest(lost, config)
    database.age_heartbeats()
    again = take(study, worker=2)
    assert (again.user_attrs[SLOT], again.user_attrs[ATTEMPT]) == (1, 1)
    assert suggest(again, config) == drawn
    finish(study, again, TrialState.COMPLETE, 0.6)
    assert take_trial(study, 0, 2) is None
    assert slots(study) == [(0, 0, "COMPLETE"), (1, 0, "FAIL"), (1, 1, "COMPLETE")]
    first, second = read_trials(study)
    assert (second.attempts, second.worker) == (2, 2)
    assert first.attempts == 1


def test_a_trial_lost_before_it_drew_parameters_is_retried(
    name: str, database: PostgreSQL, config: Config
) -> None:
    study = join(name)
    take(study)
    database.age_heartbeats()
    finish(study, take(study), TrialState.COMPLETE, 0.5)
    assert suggest(take(study), config) == config.train


def test_a_worker_that_dies_right_after_taking_a_trial_is_noticed(
    name: str, database: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = join(name)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(queue, "sampler", interrupt)
        take_trial(study, 0, 0)
    database.age_heartbeats()
    taken = [take(study).user_attrs[SLOT] for _ in range(2)]
    assert taken == [1, 0]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_worker_that_dies_before_requeuing_a_lost_trial_loses_nothing(
    name: str, database: PostgreSQL
) -> None:
    study = join(name)
    take(study)
    database.age_heartbeats()
    fail_stale_trials(study)
    assert [take(join(name)).user_attrs[SLOT] for _ in range(2)] == [1, 0]


def test_a_loss_found_by_two_workers_at_once_is_retried_once(
    name: str, database: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = join(name)
    take(study)
    database.age_heartbeats()
    fail_stale_trials(study)
    both_have_looked = threading.Barrier(2, timeout=30)

    def look() -> None:
        own = join(name)
        enqueue = own.enqueue_trial

        def enqueue_together(*arguments: object) -> None:
            both_have_looked.wait()
            enqueue(*arguments)  # pyright: ignore[reportArgumentType]

        own.enqueue_trial = enqueue_together  # pyright: ignore[reportAttributeAccessIssue]
        requeue_lost(own)

    together = [threading.Thread(target=look) for _ in range(2)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert slots(study)[2:] == [(0, 1, "WAITING"), (0, 1, "WAITING")]
    first, second = take(study), take(study)
    assert [first.user_attrs[SLOT], second.user_attrs[SLOT]] == [1, 0]
    finish(study, first, TrialState.COMPLETE, 0.5)
    # The duplicate does not run, whether the other attempt runs or has ended.
    finish(study, second, TrialState.COMPLETE, 0.5)
    assert take_trial(study, 0, 0) is None
    assert slots(study)[2:] == [(0, 1, "COMPLETE"), (0, 1, "FAIL")]
    assert read_trials(study)[0].attempts == 2


def test_a_setting_that_kills_its_workers_is_given_up(
    name: str, database: PostgreSQL, capsys: pytest.CaptureFixture[str]
) -> None:
    study = join(name)
    finish(study, take(study), TrialState.COMPLETE, 0.5)
    for _ in range(3):
        take(study)
        database.age_heartbeats()
    assert take_trial(study, 0, 0) is None
    log = capsys.readouterr().err
    assert log.count("is marked as failed: its worker has stopped sending heartbeats") == 2
    assert log.count("trial 1 was lost with its worker 3 times and is given up") == 1
    assert [trial.state for trial in read_trials(study)] == ["complete", "lost"]


def test_a_trial_that_gets_further_each_time_is_not_given_up(
    name: str, database: PostgreSQL
) -> None:
    study = join(name)
    finish(study, take(study), TrialState.COMPLETE, 0.5)
    for step in (100, 200, 300, 400):
        take(study).set_user_attr(CHECKPOINT_STEP, step)
        database.age_heartbeats()
    assert take(study).user_attrs[SLOT] == 1


def test_trials_enqueued_by_a_person_are_left_alone(name: str) -> None:
    study = join(name)
    study.enqueue_trial({"online_learning_rate": 1.0})
    for _ in range(2):
        finish(study, take(study), TrialState.COMPLETE, 0.5)
    assert take_trial(study, 0, 0) is None
    assert study.trials[2].state == TrialState.WAITING
    assert [trial.trial for trial in read_trials(study)] == [0, 1]


def test_a_result_is_not_retried(name: str, database: PostgreSQL) -> None:
    study = join(name)
    diverged, pruned = take(study), take(study)
    diverged.set_user_attr(REASON, "diverged")
    finish(study, diverged, TrialState.FAIL)
    finish(study, pruned, TrialState.PRUNED)
    database.age_heartbeats()
    assert take_trial(study, 0, 0) is None
    assert [trial.state for trial in read_trials(study)] == ["diverged", "pruned"]


def test_reports_after_a_trial_was_marked_as_failed_are_discarded(
    name: str, database: PostgreSQL
) -> None:
    study = join(name)
    slept = take(study)
    database.age_heartbeats()
    assert take(study).user_attrs[SLOT] == 1
    again = take(study)
    for late in (
        lambda: slept.report(1.0, 1),
        lambda: slept.set_user_attr("late", True),
        lambda: finish(study, slept, TrialState.COMPLETE, 1.0),
    ):
        with pytest.raises(UpdateFinishedTrialError):
            late()
    finish(study, again, TrialState.COMPLETE, 0.5)
    assert [trial.value for trial in study.trials] == [None, None, 0.5]


def test_a_worker_without_trials_waits_for_others_and_logs_it_once(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study, looks = join(name), 0
    trials = [take(study), take(study)]

    def others_work(_: float) -> None:
        nonlocal looks
        looks += 1
        finish(study, trials.pop(), TrialState.COMPLETE, 0.5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue.time, "sleep", others_work)
        assert take_trial(study, 0, 7) is None
    assert looks == 2
    waits = (
        "worker 7 has no trial left and waits for trial 0 (worker 0), trial 1 (worker 0); a trial"
    )
    assert capsys.readouterr().err.count(waits) == 1


def test_a_trial_draws_the_same_parameters_in_every_worker(
    database: PostgreSQL, config: Config, tmp_path: Path
) -> None:
    drawn = []
    for place, losses in enumerate((0, 1)):
        create_study(name := f"{tmp_path.name}-{place}", "", config)
        for _ in range(losses):
            study = join(name)
            for _ in range(2):
                take(study)
            database.age_heartbeats()
        study = join(name)
        drawn.append([suggest(trial, config) for trial in (take(study), take(study))])
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[0][1]


def test_a_database_that_restarts_is_waited_for_and_that_is_logged_once(
    name: str,
    database: PostgreSQL,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, pauses = join(name), 0

    def restart(_: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 3:
            database.start()

    database.stop()
    with monkeypatch.context() as patch:
        patch.setattr(patience.time, "sleep", restart)
        assert len(study.get_trials()) == 2
    log = capsys.readouterr().err
    assert log.count("does not answer; trying again for up to 60 s") == 1
    assert re.search(r"answers after \d+ s and 3 failed attempts", log)


def test_a_worker_that_computes_does_not_wait_for_the_database(
    name: str, database: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = join(name)
    database.stop()
    try:
        with pytest.raises(StorageInternalError), patience.without_waiting():
            study.get_trials()
        monkeypatch.setenv("QC_STUDY_TIMEOUT", "soon")
        with pytest.raises(UsageError, match="QC_STUDY_TIMEOUT must be seconds from 0 to 86400"):
            study.get_trials()
    finally:
        database.start()


def test_heartbeats_survive_a_restart_of_the_database(
    name: str, database: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QC_STUDY_TIMEOUT", "0")

    def last_beat() -> object:
        with database.connect() as connection:
            query = "SELECT max(heartbeat) FROM trial_heartbeats JOIN trials USING (trial_id)"
            row = connection.execute(f"{query} WHERE state = 'RUNNING'").fetchone()
            assert row is not None
            return row[0]

    study = join(name)
    trial = take(study)
    # The test fails after this time.
    end = time.monotonic() + 30
    with heartbeats(trial):
        database.stop()
        with pytest.raises(RunError, match="does not answer"), answering():
            study.get_trials()
        time.sleep(2 * QUICK.interval)
        database.start()
        before = last_beat()
        while last_beat() == before:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_no_error_shows_the_password(
    database: PostgreSQL, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = f"{PASSWORD}-but-wrong"
    monkeypatch.setenv("QC_STUDY_STORAGE", database.url(wrong))
    with pytest.raises(RunError, match="does not answer") as refusal:
        create_study("s", "", config)
    error: BaseException | None = refusal.value
    while error is not None:
        assert PASSWORD not in str(error)
        error = error.__cause__
