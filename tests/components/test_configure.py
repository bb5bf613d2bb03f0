"""The configure step refuses invalid inputs of the KFP form before any work starts."""

from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.configure.component import configure
from qc_core.files import read_json
from qc_core.tuning.study import load_study

step: Any = configure
FORM = {
    "recipe": "smoke",
    "method": "as the recipe says",
    "overrides": "--seed 3",
    "run_id": "run-1",
    "gpus": "0",
    "cpus": "500m",
    "memory": "1.5Gi",
    "webhook_secret": "q-chunking-webhook",
    "signing_secret": "q-chunking-signing",
}


@pytest.fixture(autouse=True)
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QC_STUDY_STORAGE", str(tmp_path / "study.journal"))


def test_valid_form_opens_the_study(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    workers = step.python_func(**FORM, config=dsl.Artifact(uri=str(config)))
    assert workers == ["0", "1"] and read_json(config)["seed"] == 3
    assert len(load_study("run-1", "").get_trials()) == 2


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("gpus", "1.5"),
        ("gpus", "²"),
        ("cpus", "two"),
        ("memory", "16GB"),
        ("memory", ""),
        ("webhook_secret", ""),
        ("signing_secret", ""),
    ],
)
def test_input_that_would_fail_a_later_step_is_refused_by_name(
    tmp_path: Path, field: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dsl.Artifact(uri=str(tmp_path / "config.json"))
    with pytest.raises(SystemExit) as ended:
        step.python_func(**{**FORM, field: text}, config=config)
    assert ended.value.code == 2 and field in capsys.readouterr().err
    assert not (tmp_path / "config.json").exists()
