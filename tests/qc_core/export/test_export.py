"""The exported policy is one file with a complete contract and gives the same as torch."""

import getpass
import hashlib
import json
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml

from qc_core import documents
from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import DatasetWriter, open_dataset
from qc_core.errors import RunError, UsageError
from qc_core.evaluation.evaluate import evaluate
from qc_core.export.card import model_card
from qc_core.export.export import METADATA_KEY, export
from qc_core.files import sha256_of
from qc_core.policy_format.contract import TuningSummary
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.training.checkpoint import read_checkpoint
from qc_core.training.pretrain import pretrain
from qc_core.training.saved_agent import load_agent, save_checkpoint
from tests.conftest import random_episodes

TEXT = (".json", ".md", "")
ABSOLUTE_PATH = re.compile(r"(?<![\w./:])/\w[\w.-]*/[\w./-]+|\b[A-Z]:\\")


def run(policy: Path, observation: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Run the model with onnxruntime only, without the runtime package."""
    session = onnxruntime.InferenceSession(
        policy / "policy.onnx", providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"observation": observation, "noise": noise})[0])


@pytest.fixture
def converted_once(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives every export the model of `policy`: the tests' checkpoints have the same weights."""

    def converted(*_: Any) -> onnx.ModelProto:
        model = onnx.load(policy / "policy.onnx")
        del model.metadata_props[:]
        return model

    monkeypatch.setattr("qc_core.export.export.to_onnx", converted)


def test_the_folder_holds_what_the_contract_says(policy: Path) -> None:
    names = {path.name for path in policy.iterdir()}
    assert names == {"policy.onnx", "policy.json", "golden.npz", "model-card.md", "SHA256SUMS"}
    for line in (policy / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((policy / name).read_bytes()).hexdigest() == digest


def test_plain_onnxruntime_gives_the_same_as_torch(policy: Path, checkpoint: Path) -> None:
    rng = np.random.default_rng(7)
    observation = rng.normal(size=(1000, 28)).astype(np.float32) * 3
    noise = rng.normal(size=(1000, 25)).astype(np.float32)
    got = run(policy, observation, noise)
    agent = load_agent(checkpoint, torch.device("cpu"))
    expected = agent.chunk(torch.from_numpy(observation), torch.from_numpy(noise))
    np.testing.assert_allclose(got, expected.detach(), atol=1e-5)
    assert np.abs(got).max() <= 1


def test_a_policy_of_a_robot_uses_the_units_of_the_robot(
    tmp_path: Path, config: Config, spec: EnvironmentSpec
) -> None:
    """For a robot without a simulator, actions are in degrees and within their bounds."""
    low, high = (-29.9543, 0.0, 1.0, -180.0, 0.1), (89.8638, 3.0, 1.0, 180.0, 0.3)
    robot = msgspec.structs.replace(spec, id="robot/mine", action_low=low, action_high=high)
    writer = DatasetWriter(tmp_path / "data", robot)
    episodes = random_episodes(robot, [40])
    episodes.actions[:] = np.asarray(low) + (episodes.actions + 1) / 2 * np.subtract(high, low)
    writer.append(episodes)
    writer.finish(DataSource())
    pretrain(replace(config, environment="robot/mine"), tmp_path / "data", tmp_path / "c")
    contract = export(tmp_path / "c", tmp_path / "policy")
    assert (contract.action.low, contract.action.high) == (low, high)

    rng = np.random.default_rng(0)
    observation = rng.normal(size=(500, 28)).astype(np.float32)
    noise = rng.normal(size=(500, 25)).astype(np.float32) * 9
    chunk = run(tmp_path / "policy", observation, noise)
    np.testing.assert_array_equal(chunk.min(axis=(0, 1)), np.asarray(low, np.float32))
    np.testing.assert_array_equal(chunk.max(axis=(0, 1)), np.asarray(high, np.float32))


@pytest.mark.parametrize("batch", [1, 2, 17])
def test_the_batch_is_dynamic(policy: Path, batch: int) -> None:
    observation, noise = np.zeros((batch, 28), np.float32), np.zeros((batch, 25), np.float32)
    chunk = run(policy, observation, noise)
    assert chunk.shape == (batch, 5, 5)


def test_the_model_carries_its_contract_and_passes_the_full_check(policy: Path) -> None:
    model = onnx.load(policy / "policy.onnx")
    onnx.checker.check_model(model, full_check=True)
    inside = {entry.key: entry.value for entry in model.metadata_props}
    contract = json.loads((policy / "policy.json").read_text())
    assert json.loads(inside[METADATA_KEY]) == contract
    assert contract["chunk-length"] == contract["execution-horizon"] == 5
    assert contract["noise"] == {"shape": [25], "distribution": "standard normal, independent"}
    assert len(contract["observation"]["names"]) == 28
    assert contract["action"]["low"] == [-1.0] * 5
    assert [entry.version for entry in model.opset_import] == [contract["opset"]]


def test_golden_cases_hold(policy: Path) -> None:
    golden = np.load(policy / "golden.npz")
    got = run(policy, golden["observation"], golden["noise"])
    np.testing.assert_allclose(got, golden["action_chunk"], atol=1e-5)


def test_onnxruntime_1_20_can_read_the_model(policy: Path) -> None:
    """onnxruntime 1.20 (November 2024) supports IR version 10 and opset 21 at most."""
    model = onnx.load(policy / "policy.onnx")
    assert model.ir_version <= 10
    assert [(entry.domain, entry.version <= 21) for entry in model.opset_import] == [("", True)]
    assert not model.functions


def test_the_model_is_one_file(policy: Path) -> None:
    model = onnx.load(policy / "policy.onnx", load_external_data=False)
    assert all(entry.data_location == onnx.TensorProto.DEFAULT for entry in model.graph.initializer)


def test_no_file_names_the_exporting_machine(policy: Path) -> None:
    places = [Path.cwd(), Path.home(), tempfile.gettempdir(), sys.prefix]
    traces = [*map(str, places), socket.gethostname(), f"/{getpass.getuser()}", "site-packages"]
    sources = ["qc_core/", ".py", "stack_trace", "Traceback", "torch.fx"]
    for path in policy.iterdir():
        content = path.read_bytes()
        for trace in (*traces, *sources):
            assert trace.encode() not in content, (path.name, trace)
    texts = {path.name: path.read_text() for path in policy.iterdir() if path.suffix in TEXT}
    model = onnx.load(policy / "policy.onnx")
    for initializer in model.graph.initializer:
        # Random bytes may look like a path.
        initializer.ClearField("raw_data")
    texts["policy.onnx"] = model.SerializeToString().decode(errors="replace")
    for name, text in texts.items():
        assert not ABSOLUTE_PATH.search(text), (name, ABSOLUTE_PATH.search(text))


@pytest.mark.usefixtures("converted_once")
def test_the_contract_records_the_provenance(
    policy: Path,
    checkpoint: Path,
    dataset: Path,
    config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contract = json.loads((policy / "policy.json").read_text())
    manifest = json.loads((dataset / "dataset.json").read_text())
    assert contract["dataset-digest"] == manifest["digest"]
    assert contract["provenance"] == {
        "config": to_mapping(config),
        "dataset-source": documents.to_json(open_dataset(dataset).source),
        "image": "unknown",
        "parent": None,
        "weights": sha256_of(checkpoint / "weights.safetensors"),
    }
    info = read_checkpoint(checkpoint)
    mine = replace(
        config, data=replace(config.data, source=("/home/somebody/robot.npz", "collect"))
    )
    agent = load_agent(checkpoint, torch.device("cpu"))
    save_checkpoint(tmp_path / "mine", agent, msgspec.structs.replace(info, config=mine), [])
    monkeypatch.setenv("QC_IMAGE", "registry/train:1")
    provenance = export(tmp_path / "mine", tmp_path / "policy").provenance
    assert provenance.config is not None
    assert provenance.config["data"]["source"] == ["robot.npz", "collect"]
    assert provenance.image == "registry/train:1"
    for path in (tmp_path / "policy").iterdir():
        assert b"somebody" not in path.read_bytes()
    assert "container image `registry/train:1`" in (tmp_path / "policy/model-card.md").read_text()


def test_the_same_checkpoint_gives_the_same_bytes(
    tmp_path: Path, policy: Path, checkpoint: Path
) -> None:
    export(checkpoint, tmp_path / "again")
    for path in policy.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.usefixtures("converted_once")
def test_the_contract_contains_the_evaluation(
    tmp_path: Path, config: Config, checkpoint: Path
) -> None:
    evaluate(config, checkpoint, checkpoint, tmp_path / "evaluation.json")
    contract = export(checkpoint, tmp_path / "policy", tmp_path / "evaluation.json")
    assert contract.evaluation is not None
    assert contract.evaluation.episodes == config.evaluate.episodes
    _, header, card = (tmp_path / "policy" / "model-card.md").read_text().split("---\n", 2)
    assert f"over {config.evaluate.episodes} episodes in the simulator" in card
    assert "95% interval" in card
    assert "Simulator only." in card
    (model,) = yaml.safe_load(header)["model-index"]
    (metric,) = model["results"][0]["metrics"]
    assert metric["value"] == contract.evaluation.success.value


@pytest.mark.usefixtures("converted_once")
def test_the_execution_horizon_is_that_of_the_evaluation_or_the_configuration(
    tmp_path: Path, config: Config, checkpoint: Path
) -> None:
    two = replace(config, evaluate=replace(config.evaluate, execution_horizon=2, episodes=1))
    evaluate(two, checkpoint, checkpoint, tmp_path / "evaluation.json")
    measured = export(checkpoint, tmp_path / "measured", tmp_path / "evaluation.json")
    assert (measured.chunk_length, measured.execution_horizon) == (5, 2)
    assert measured.evaluation is not None and measured.evaluation.execution_horizon == 2
    configured = tmp_path / "configured"
    agent = load_agent(checkpoint, torch.device("cpu"))
    save_checkpoint(
        configured, agent, msgspec.structs.replace(read_checkpoint(checkpoint), config=two), []
    )
    assert export(configured, tmp_path / "policy").execution_horizon == 2
    assert "Execute 2 of them" in (tmp_path / "policy" / "model-card.md").read_text()


def test_the_contract_records_size_and_range_of_the_data(policy: Path, dataset: Path) -> None:
    contract = json.loads((policy / "policy.json").read_text())
    assert (contract["transitions"], contract["episodes"]) == (150, 3)
    observations = np.load(dataset / "observations.npy")
    bounds = contract["observation"]["range-in-data"]
    np.testing.assert_array_equal(bounds["low"], observations.min(axis=0))
    np.testing.assert_array_equal(bounds["high"], observations.max(axis=0))
    card = (policy / "model-card.md").read_text()
    assert f"150 transitions in 3 episodes, digest `{contract['dataset-digest']}`" in card
    assert "lowest and the highest value of each observation" in card


@pytest.mark.usefixtures("converted_once")
def test_the_card_describes_training_and_limits(
    policy: Path, checkpoint: Path, tmp_path: Path
) -> None:
    card = (policy / "model-card.md").read_text()
    assert "4 updates on the data below, then no fine-tuning." in card
    assert "Not a safety device" in card
    assert "Never tried." in card
    assert "up\n  to 0.25 s later" in card
    assert yaml.safe_load(card.split("---\n")[1])["tags"][-1] == "qc-fql"
    tuned, agent = tmp_path / "tuned", load_agent(checkpoint, torch.device("cpu"))
    save_checkpoint(
        tuned,
        agent,
        msgspec.structs.replace(read_checkpoint(checkpoint), online_steps=12, trial=1),
        [],
    )
    contract = export(tuned, tmp_path / "policy")
    assert contract.tuning == TuningSummary(trials=2, best_trial=1)
    card = (tmp_path / "policy" / "model-card.md").read_text()
    assert "then 12 environment steps of fine-tuning in the simulator, the best of up to 2" in card
    provenance = msgspec.structs.replace(contract.provenance, parent="cube:1")
    child = msgspec.structs.replace(contract, provenance=provenance)
    assert "starting from the weights of `cube:1`, then" in model_card(child)
    assert "Simulator only." in card


@pytest.mark.usefixtures("converted_once")
def test_checkpoints_without_data_extent_are_exported(checkpoint: Path, tmp_path: Path) -> None:
    agent = load_agent(checkpoint, torch.device("cpu"))
    info = msgspec.structs.replace(
        read_checkpoint(checkpoint), dataset_extent=None, dataset_source=None
    )
    save_checkpoint(tmp_path / "old", agent, info, [])
    contract = export(tmp_path / "old", tmp_path / "policy")
    assert (contract.transitions, contract.observation.range_in_data) == (None, None)
    card = (tmp_path / "policy" / "model-card.md").read_text()
    assert "Of unknown size" in card
    assert "The range of its observations is unknown." in card


def test_a_folder_that_is_not_a_checkpoint_is_refused(tmp_path: Path, dataset: Path) -> None:
    with pytest.raises(UsageError):
        export(dataset, tmp_path / "policy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"success": {}},
        {"steps": {"value": "x", "low": 0.0, "high": 1.0}},
        {"return": {"value": 0.0, "low": 0.0}},
        {"success": 3},
    ],
)
def test_a_damaged_evaluation_is_refused(
    tmp_path: Path, checkpoint: Path, change: dict[str, Any]
) -> None:
    figure = {"value": 0.5, "low": 0.0, "high": 1.0}
    learned = {
        "name": "offline Q-learning",
        "kind": "learned",
        "weights": sha256_of(checkpoint / "weights.safetensors"),
        **dict.fromkeys(("success", "steps", "return", "success-gain", "steps-saved"), figure),
    }
    numbers = {"episodes": 2, "first-seed": 0, "execution-horizon": 5, "episode-limit": 200}
    content = {"environment": "robot/arm", **numbers, "policies": [{**learned, **change}]}
    evaluation = tmp_path / "evaluation.json"
    evaluation.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"evaluation\.json.* is damaged: "):
        export(checkpoint, tmp_path / "policy", evaluation)


@pytest.mark.parametrize(
    "change",
    [
        {"dataset-extent": 3},
        {"dataset-extent": {}},
        {"dataset-extent": {"episodes": 1, "transitions": "x", "observation-range": None}},
        {"dataset-source": 3},
        {"trial": "x"},
        {"parent": 3},
    ],
)
def test_a_damaged_checkpoint_is_refused(
    tmp_path: Path, checkpoint: Path, change: dict[str, Any]
) -> None:
    damaged = Path(shutil.copytree(checkpoint, tmp_path / "damaged"))
    content = json.loads((damaged / "checkpoint.json").read_text())
    (damaged / "checkpoint.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(UsageError, match=r"checkpoint\.json.* is damaged: "):
        export(damaged, tmp_path / "policy")


@pytest.mark.parametrize("name", [".", "checkpoint.json"])
def test_an_unreadable_checkpoint_is_named(
    checkpoint: Path, tmp_path: Path, forbid: Callable[[Path], None], name: str
) -> None:
    forbid(checkpoint / name)
    with pytest.raises(RunError, match=r"checkpoint\.json cannot be read"):
        export(checkpoint, tmp_path / "policy")
