"""Policies of the first schema are read and run unchanged."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from qc_core import documents
from qc_core.errors import UsageError
from qc_core.policy_format.contract import METADATA_KEY, Contract
from qc_core.policy_format.policy_folder import read_contract, verify, write_checksums
from qc_core.runtime import ChunkPolicy
from qc_core.runtime.golden import check_golden

# A complete contract as the first schema had it.
OLD: dict[str, Any] = {
    "schema-version": 1,
    "method": "qc-fql",
    "environment": "robot/small",
    "horizon": 5,
    "execution-length": 3,
    "control-interval-seconds": 0.05,
    "episode-limit": 200,
    "observation": {
        "names": ["x"],
        "units": "environment, raw",
        "range-in-data": {"low": [-1.5], "high": [2]},
    },
    "action": {"names": ["u"], "low": [-1], "high": [1.0]},
    "noise": {"shape": [5], "law": "standard normal, independent"},
    "flow-steps": 0,
    "opset": 20,
    "versions": {"q-chunking": "0.1.0", "torch": "2.13.0"},
    "dataset-digest": "a" * 64,
    "episodes": 2,
    "transitions": 80,
    "git-commit": "unknown",
    "recipe": "smoke",
    "seed": 0,
    "offline-steps": 100,
    "online-steps": 50,
    "tuning": {"trials": 4, "best-trial": 1},
    "evaluation": {
        "episodes": 50,
        "first-seed": 1000,
        "execution-length": 3,
        "success": {"value": 0.9, "low": 0.8, "high": 0.95},
        "steps": {"value": 60.0, "low": 55.0, "high": 66.0},
        "return": {"value": -60.0, "low": -66.0, "high": -55.0},
        "success-told": False,
    },
    "provenance": {
        "config": {"train": {"method": "qc-fql"}},
        "dataset-source": {
            "kind": "joined",
            "sources": [{"kind": "collect", "seed": 3, "episodes": 2, "digest": "b" * 64}],
        },
        "image": "unknown",
        "parent": None,
        "weights": "c" * 64,
    },
}
OLD_KEYS = {"horizon", "execution-length", "success-told", "law"}


def old_form(contract: dict[str, Any]) -> dict[str, Any]:
    """A contract of the current schema in the form of the first."""
    old = {**contract, "schema-version": 1}
    old["horizon"] = old.pop("chunk-length")
    old["execution-length"] = old.pop("execution-horizon")
    old["noise"] = {"shape": old["noise"]["shape"], "law": old["noise"]["distribution"]}
    return old


def keys_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_in, value.values()))
    return set().union(*map(keys_in, value)) if isinstance(value, list) else set()


def test_a_contract_of_the_first_schema_is_read_completely() -> None:
    contract = documents.convert(OLD, Contract, "policy.json")
    assert (contract.chunk_length, contract.execution_horizon) == (5, 3)
    assert contract.noise.distribution == "standard normal, independent"
    assert contract.evaluation is not None
    assert (contract.evaluation.execution_horizon, contract.evaluation.reports_success) == (
        3,
        False,
    )
    assert contract.evaluation.episode_return.low == -66
    assert contract.observation.range_in_data is not None
    assert contract.observation.range_in_data.high == (2.0,)
    source = contract.provenance.dataset_source
    assert source is not None and [part.seed for part in source.parts] == [3]


def test_the_current_form_has_the_same_content_and_no_old_key() -> None:
    contract = documents.convert(OLD, Contract, "policy.json")
    written = documents.to_json(contract)
    assert written["schema-version"] == 2
    assert not OLD_KEYS & keys_in(written)
    assert documents.convert(written, Contract, "policy.json") == contract
    for key in OLD.keys() - OLD_KEYS - {"schema-version", "noise", "evaluation"}:
        assert written[key] == OLD[key], key


def test_reading_does_not_change_the_content_that_was_read() -> None:
    before = json.dumps(OLD)
    documents.convert(OLD, Contract, "policy.json")
    assert json.dumps(OLD) == before


@pytest.mark.parametrize("part", [None, 3, [], "text"])
def test_an_old_contract_with_a_wrong_part_is_refused(part: Any) -> None:
    with pytest.raises(UsageError, match=r"^policy\.json is damaged: .* at `\$.noise`"):
        documents.convert({**OLD, "noise": part}, Contract, "policy.json")


def test_an_old_policy_runs_as_before(policy: Path, tmp_path: Path) -> None:
    """Both copies of the contract have the old form; the model is the same."""
    old = Path(shutil.copytree(policy, tmp_path / "old"))
    content = old_form(json.loads((policy / "policy.json").read_text()))
    (old / "policy.json").write_text(json.dumps(content))
    model = onnx.load(old / "policy.onnx")
    (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    entry.value = json.dumps(content)
    (old / "policy.onnx").write_bytes(model.SerializeToString())
    write_checksums(old)
    verify(old)
    assert read_contract(old) == read_contract(policy)
    assert "maximum difference" in check_golden(old)
    observation = np.ones(28, np.float32)
    expected = ChunkPolicy.load(policy, seed=1).act(observation)
    np.testing.assert_array_equal(ChunkPolicy.load(old, seed=1).act(observation), expected)
