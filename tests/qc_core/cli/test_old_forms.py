"""The commands of the previous release still work and name their new form."""

import pytest

from qc_core.cli.main import main
from qc_core.cli.old_forms import current_form
from qc_core.errors import UsageError


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("study x.yaml --workers 2", "sweep x.yaml --workers 2", "qc sweep FILE"),
        ("ingest --describe x --json", "describe x --json", "qc describe SOURCE"),
        ("ingest --json --describe=x", "describe x --json", "qc describe SOURCE"),
        ("promote --rollback cube", "rollback cube", "qc rollback NAME"),
        (
            "promote --rollback cube --alias a --json",
            "rollback cube --alias a --json",
            "qc rollback NAME",
        ),
        ("play p --coherence", "coherence p", "qc coherence POLICY"),
        ("play p --coherence --seed 3", "coherence p --seed 3", "qc coherence POLICY"),
        (
            "play p --coherence f.svg --against q",
            "coherence p --against q -o f.svg",
            "qc coherence POLICY",
        ),
        ("schedule smoke --every 1h", "schedule create smoke --every 1h", "qc schedule create"),
        (
            "schedule --endpoint U --seed 3 smoke --name list",
            "schedule create --endpoint U --seed 3 smoke --name list",
            "qc schedule create",
        ),
    ],
)
def test_an_old_form_is_rewritten_with_a_hint(
    capsys: pytest.CaptureFixture[str], old: str, new: str, hint: str
) -> None:
    assert current_form(old.split()) == new.split()
    (line,) = capsys.readouterr().err.splitlines()
    assert f"is now `{hint}" in line


@pytest.mark.parametrize(
    "words",
    [
        "sweep x.yaml",
        "ingest smoke -o out",
        "promote smoke policy",
        "play p --seed 3",
        "schedule create smoke --every 1h",
        "schedule list",
        "schedule --json list",
        "schedule --endpoint U list",
        "schedule --endpoint=U --json list",
        "schedule --train.normalize-observations --seed 3 create smoke",
        "schedule",
        "schedule --help",
        "policies",
    ],
)
def test_current_forms_are_unchanged(capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert current_form(words.split()) == words.split()
    assert capsys.readouterr().err == ""


def test_an_old_form_without_its_value_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", "--describe"]) == 2
    hint, error = capsys.readouterr().err.splitlines()
    assert "qc describe SOURCE" in hint and "required: source" in error


def test_comparing_two_policies_with_play_names_coherence() -> None:
    with pytest.raises(UsageError, match="qc coherence POLICY --against DIR"):
        current_form(["play", "p", "--against", "r"])


def test_a_removed_option_is_refused() -> None:
    with pytest.raises(UsageError, match="--time-zone was removed"):
        current_form(["schedule", "create", "smoke", "--time-zone", "UTC"])
