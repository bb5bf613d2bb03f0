"""A run that continues another one copies finished results instead of computing them again."""

from pathlib import Path
from typing import NamedTuple

import pytest

from qc_core.config.settings import Config
from qc_core.errors import RunError, UsageError
from qc_core.results.run_record import (
    read_record,
    record_of,
    require_record,
    require_same_training,
    study_of,
    write_record,
)
from qc_core.results.step_results import compute_once
from qc_core.store.open import open_store
from tests.conftest import small_config


class Output(NamedTuple):
    path: str
    uri: str


class Run:
    """A run with one step that writes a folder and a file; KFP may store them in a bucket."""

    def __init__(self, folder: Path, continues: str = "", bucket: str = "") -> None:
        self.name, self.folder, self.bucket = folder.name, folder, bucket
        self.computed = 0
        record = record_of(small_config(), self.name)
        if continues:
            earlier = require_record(open_store(), continues)
            record = type(record)(config=record.config, study=earlier.study, continues=continues)
        write_record(open_store(), self.name, record)

    def compute(self) -> None:
        self.computed += 1
        (self.folder / "data" / "part").mkdir(parents=True)
        (self.folder / "data" / "part" / "rows").write_bytes(b"12345")
        (self.folder / "data" / "info").write_bytes(b"{}")
        (self.folder / "curve").write_bytes(b"1,2")

    def step(self, **depends_on: object) -> None:
        address = f"minio://{self.bucket}/v2/{self.name}" if self.bucket else str(self.folder)
        outputs = {
            name: Output(str(self.folder / name), f"{address}/{name}") for name in ("data", "curve")
        }
        compute_once(open_store(), self.name, "ingest", depends_on, outputs, self.compute)

    def files(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def earlier(tmp_path: Path) -> Run:
    run = Run(tmp_path / "earlier")
    run.step(seed=1)
    return run


def test_a_finished_step_is_not_computed_again_through_several_runs(
    earlier: Run, tmp_path: Path
) -> None:
    later = Run(tmp_path / "later", "earlier")
    # The run in between ended before the step.
    Run(tmp_path / "between", "earlier")
    last = Run(tmp_path / "last", "between")
    for run in (later, last):
        run.step(seed=1)
        assert run.computed == 0 and run.files() == earlier.files()
        assert study_of(open_store(), run.name) == "earlier"


@pytest.mark.parametrize("what", ["other inputs", "no result", "a lost file"])
def test_what_is_not_valid_or_not_complete_is_computed_again(
    earlier: Run, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "a lost file":
        (earlier.folder / "data" / "part" / "rows").unlink()
    elif what == "no result":
        open_store().delete("runs/earlier/results/ingest.json")
    later = Run(tmp_path / "later", "earlier")
    later.step(seed=2 if what == "other inputs" else 1)
    assert later.computed == 1 and "curve" in later.files()
    expected = {
        "other inputs": "run earlier had other values of: seed",
        "no result": "",
        "a lost file": "is not complete: part/rows is missing",
    }
    assert expected[what] in capsys.readouterr().err


def test_a_damaged_file_is_one_line_and_leaves_no_output(earlier: Run, tmp_path: Path) -> None:
    (earlier.folder / "data" / "info").write_bytes(b"")
    later = Run(tmp_path / "later", "earlier")
    with pytest.raises(RunError, match=r"info in .* is damaged: it has 0 bytes instead of 2"):
        later.step(seed=1)
    assert not later.files()


def test_artifacts_in_kfps_bucket_are_read_with_the_keys_of_the_store(
    s3_store: str, tmp_path: Path
) -> None:
    bucket = s3_store.split("/")[2]
    earlier = Run(tmp_path / "earlier", bucket=bucket)
    earlier.step()
    from qc_core.store.s3 import S3Store

    for name, content in earlier.files().items():
        # KFP's launcher uploads the outputs after the step.
        S3Store(f"s3://{bucket}").put(f"v2/earlier/{name}", content)
    later = Run(tmp_path / "later", "earlier", bucket)
    later.step()
    assert later.computed == 0 and later.files() == earlier.files()


def test_an_output_in_an_unknown_kind_of_store_is_refused(tmp_path: Path) -> None:
    earlier = Run(tmp_path / "earlier")
    output = Output(str(tmp_path / "earlier" / "curve"), "gs://bucket/curve")
    compute_once(open_store(), "earlier", "export", {}, {"curve": output}, earlier.compute)
    Run(tmp_path / "later", "earlier")
    with pytest.raises(UsageError, match="gs://bucket/curve is in a store that this run cannot"):
        compute_once(open_store(), "later", "export", {}, {"curve": output}, earlier.compute)


def test_only_options_that_training_does_not_depend_on_may_differ(config: Config) -> None:
    from qc_core.config.resolve import resolve

    def record(*overrides: str):
        return record_of(resolve("smoke", overrides), "one")

    one = record("--tune.trials", "2")
    more = resolve("smoke", ["--tune.trials", "5", "--publish.gate", "not-worse"])
    require_same_training(one, more, "one")
    with pytest.raises(UsageError, match=r"run one was started with --seed 0: give the same"):
        require_same_training(one, resolve("smoke", ["--seed", "1", "--tune.trials", "2"]), "one")
    with pytest.raises(UsageError, match=r"--tune.trials must be at least 2, which run one has"):
        require_same_training(one, resolve("smoke", ["--tune.trials", "1"]), "one")


def test_a_run_without_a_record_cannot_be_continued() -> None:
    assert read_record(open_store(), "unknown") is None
    with pytest.raises(UsageError, match="has no run unknown that could be continued"):
        require_record(open_store(), "unknown")
