"""The configuration document is written in the current form and read in every form."""

import json
from pathlib import Path
from typing import Any

import pytest

from qc_core.config.document import as_config, read_config, to_mapping, write_config
from qc_core.config.methods import METHODS
from qc_core.config.resolve import resolve
from qc_core.errors import UsageError

# As the release before schema version 2 wrote it: old names, settings of every method.
OLD: dict[str, Any] = {
    "recipe": "smoke",
    "environment": "cube-single-singletask-task1-v0",
    "seed": 3,
    "data": {"source": ["collect"], "resident-transitions": 1000, "slice-updates": 7},
    "train": {
        "method": "qc",
        "horizon": 4,
        "critics": 3,
        "widths": [8, 8],
        "target-rate": 0.1,
        "candidates": 16,
        "flow-steps": 6,
        "distillation-weight": 30.0,
        "cloning-weight": 0.01,
        "initial-temperature": 1.0,
        "target-entropy-factor": 0.5,
        "online-start": 20,
        "environments": 2,
        "updates-per-step": 5,
    },
    "tune": {"trials": 2, "distillation-weight-factor": 2.0},
    "evaluate": {"execution-horizon": 2},
    "publish": {"name": ""},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_document_is_read_as_it_was_written(tmp_path: Path, method: str) -> None:
    config = resolve("smoke", ["--train.method", method])
    write_config(tmp_path / "config.json", config)
    assert read_config(tmp_path / "config.json") == config
    content = json.loads((tmp_path / "config.json").read_text())
    assert content.pop("schema-version") == 2
    assert as_config(content, "saved") == config


def test_an_old_document_is_read() -> None:
    config = as_config(OLD, "old.json")
    assert (config.recipe, config.seed) == ("smoke", 3)
    assert (config.data.shard_size, config.data.shard_updates) == (1000, 7)
    train, algorithm = config.train, to_mapping(config)["train"]
    assert (train.method, train.backup_horizon, train.num_critics) == ("qc", 4, 3)
    assert (train.hidden_dims, train.tau, train.learning_starts) == ((8, 8), 0.1, 20)
    assert (train.num_envs, train.utd_ratio) == (2, 5)
    assert (algorithm["num-samples"], algorithm["flow-steps"]) == (16, 6)
    assert "alpha" not in algorithm and "bc-weight" not in algorithm
    assert (config.tune.alpha_factor, config.evaluate.execution_horizon) == (2.0, 2)


def test_an_old_document_keeps_the_settings_of_its_own_method() -> None:
    def algorithm(method: str) -> Any:
        train = {**OLD["train"], "method": method}
        return as_config({**OLD, "train": train, "evaluate": {}}, "old.json").train.algorithm

    assert algorithm("qc-fql").alpha == 30.0
    # Written for every method, used by qc-rlpd only.
    assert algorithm("rlpd").bc_weight == algorithm("rlpd-ac").bc_weight == 0
    assert (algorithm("qc-rlpd").bc_weight, algorithm("qc-rlpd").initial_temperature) == (0.01, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema-version": 3}, "x.json has schema version 3, this release reads 1 to 2: update"),
        ({"schema-version": "2"}, "x.json has schema version '2'"),
        ({"recipe": 1}, "x.json is damaged"),
        ({"sede": 1}, r"x.json: unknown option --sede. Did you mean seed"),
        ({"seed": "1"}, "x.json: --seed: Expected `int`"),
        ({"train": {"method": "qcx"}}, "x.json: unknown method 'qcx'"),
        ({"train": {"method": "qc", "tau": 2.0}}, "x.json: --train.tau must be in"),
    ],
)
def test_invalid_documents_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        as_config({"recipe": "smoke", **change}, "x.json")


@pytest.mark.parametrize("content", [None, [], "x", 1])
def test_a_document_that_is_no_object_is_refused(content: Any) -> None:
    with pytest.raises(UsageError, match=r"x\.json is damaged"):
        as_config(content, "x.json")
