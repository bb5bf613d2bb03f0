"""The exported policy is one file that says everything a robot needs, and the same as torch."""

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

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml

from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import DatasetWriter, open_dataset
from qc_core.errors import RunError, UsageError
from qc_core.evaluation.evaluate import evaluate
from qc_core.export.card import model_card
from qc_core.export.export import METADATA_KEY, export
from qc_core.files import sha256_of
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.training.checkpoint import load_agent, read_info, save_checkpoint
from qc_core.training.pretrain import pretrain
from tests.conftest import random_episodes

TEXT = (".json", ".md", "")
ABSOLUTE_PATH = re.compile(r"(?<![\w./:])/\w[\w.-]*/[\w./-]+|\b[A-Z]:\\")


def run(policy: Path, observation: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The model as anyone runs it, with nothing of ours in between."""
    session = onnxruntime.InferenceSession(
        policy / "policy.onnx", providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"observation": observation, "noise": noise})[0])


def test_the_folder_holds_what_the_contract_says(policy: Path) -> None:
    names = {path.name for path in policy.iterdir()}
    assert names == {"policy.onnx", "policy.json", "golden.npz", "model-card.md", "SHA256SUMS"}
    for line in (policy / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((policy / name).read_bytes()).hexdigest() == digest


def test_plain_onnxruntime_gives_what_torch_gives(policy: Path, checkpoint: Path) -> None:
    rng = np.random.default_rng(7)
    observation = rng.normal(size=(1000, 28)).astype(np.float32) * 3
    noise = rng.normal(size=(1000, 25)).astype(np.float32)
    got = run(policy, observation, noise)
    agent = load_agent(checkpoint, torch.device("cpu"))
    expected = agent.chunk(torch.from_numpy(observation), torch.from_numpy(noise))
    np.testing.assert_allclose(got, expected.detach(), atol=1e-5)
    assert np.abs(got).max() <= 1


def test_a_robots_policy_speaks_in_its_own_units(
    tmp_path: Path, config: Config, spec: EnvironmentSpec
) -> None:
    """Data of a robot without a simulator: degrees in, degrees out, never beyond its bounds."""
    low, high = (-29.9543, 0.0, 1.0, -180.0, 0.1), (89.8638, 3.0, 1.0, 180.0, 0.3)
    robot = replace(spec, id="robot/mine", action_low=low, action_high=high)
    writer = DatasetWriter(tmp_path / "data", robot)
    episodes = random_episodes(robot, [40])
    episodes.actions[:] = np.asarray(low) + (episodes.actions + 1) / 2 * np.subtract(high, low)
    writer.append(episodes)
    writer.finish({})
    pretrain(replace(config, environment="robot/mine"), tmp_path / "data", tmp_path / "c")
    contract = export(tmp_path / "c", tmp_path / "policy")
    assert (contract["action"]["low"], contract["action"]["high"]) == (list(low), list(high))

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
    assert contract["horizon"] == contract["execution-length"] == 5
    assert contract["noise"] == {"shape": [25], "law": "standard normal, independent"}
    assert len(contract["observation"]["names"]) == 28
    assert contract["action"]["low"] == [-1.0] * 5
    assert [entry.version for entry in model.opset_import] == [contract["opset"]]


def test_golden_cases_hold(policy: Path) -> None:
    golden = np.load(policy / "golden.npz")
    got = run(policy, golden["observation"], golden["noise"])
    np.testing.assert_allclose(got, golden["action_chunk"], atol=1e-5)


def test_onnxruntime_of_two_years_ago_can_read_it(policy: Path) -> None:
    """1.20, of November 2024, reads IR version 10 and opset 21, and nothing newer."""
    model = onnx.load(policy / "policy.onnx")
    assert model.ir_version <= 10
    assert [(entry.domain, entry.version <= 21) for entry in model.opset_import] == [("", True)]
    assert not model.functions


def test_it_is_one_file(policy: Path) -> None:
    model = onnx.load(policy / "policy.onnx", load_external_data=False)
    assert all(entry.data_location == onnx.TensorProto.DEFAULT for entry in model.graph.initializer)


def test_nothing_names_the_machine_that_exported_it(policy: Path) -> None:
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
        # Random bytes may look like anything.
        initializer.ClearField("raw_data")
    texts["policy.onnx"] = model.SerializeToString().decode(errors="replace")
    for name, text in texts.items():
        assert not ABSOLUTE_PATH.search(text), (name, ABSOLUTE_PATH.search(text))


def test_the_contract_says_where_the_policy_comes_from(
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
        "dataset-source": open_dataset(dataset).source,
        "image": "unknown",
        "parent": None,
        "weights": sha256_of(checkpoint / "weights.safetensors"),
    }
    info = read_info(checkpoint)
    mine = replace(
        config, data=replace(config.data, source=("/home/somebody/robot.npz", "collect"))
    )
    agent = load_agent(checkpoint, torch.device("cpu"))
    save_checkpoint(tmp_path / "mine", agent, replace(info, config=mine), [])
    monkeypatch.setenv("QC_IMAGE", "registry/train:1")
    provenance = export(tmp_path / "mine", tmp_path / "policy")["provenance"]
    assert provenance["config"]["data"]["source"] == ["robot.npz", "collect"]
    assert provenance["image"] == "registry/train:1"
    for path in (tmp_path / "policy").iterdir():
        assert b"somebody" not in path.read_bytes()
    assert "container image `registry/train:1`" in (tmp_path / "policy/model-card.md").read_text()


def test_the_same_checkpoint_gives_the_same_bytes(
    tmp_path: Path, policy: Path, checkpoint: Path
) -> None:
    export(checkpoint, tmp_path / "again")
    for path in policy.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_evaluation_is_carried_along(tmp_path: Path, config: Config, checkpoint: Path) -> None:
    evaluate(config, checkpoint, checkpoint, tmp_path / "evaluation.json")
    contract = export(checkpoint, tmp_path / "policy", tmp_path / "evaluation.json")
    assert contract["evaluation"]["episodes"] == config.evaluate.episodes
    _, header, card = (tmp_path / "policy" / "model-card.md").read_text().split("---\n", 2)
    assert f"over {config.evaluate.episodes} episodes in the simulator" in card
    assert "95% interval" in card
    assert "Simulator only." in card
    (model,) = yaml.safe_load(header)["model-index"]
    (metric,) = model["results"][0]["metrics"]
    assert metric["value"] == contract["evaluation"]["success"]["value"]


def test_the_contract_plays_what_was_evaluated_or_else_what_was_configured(
    tmp_path: Path, config: Config, checkpoint: Path
) -> None:
    two = replace(config, evaluate=replace(config.evaluate, execution_horizon=2, episodes=1))
    evaluate(two, checkpoint, checkpoint, tmp_path / "evaluation.json")
    measured = export(checkpoint, tmp_path / "measured", tmp_path / "evaluation.json")
    assert (measured["horizon"], measured["execution-length"]) == (5, 2)
    assert measured["evaluation"]["execution-length"] == 2
    configured = tmp_path / "configured"
    agent = load_agent(checkpoint, torch.device("cpu"))
    save_checkpoint(configured, agent, replace(read_info(checkpoint), config=two), [])
    assert export(configured, tmp_path / "policy")["execution-length"] == 2
    assert "Play\n2 of them" in (tmp_path / "policy" / "model-card.md").read_text()


def test_the_contract_says_how_much_data_there_was_and_how_far_it_went(
    policy: Path, dataset: Path
) -> None:
    contract = json.loads((policy / "policy.json").read_text())
    assert (contract["transitions"], contract["episodes"]) == (150, 3)
    observations = np.load(dataset / "observations.npy")
    bounds = contract["observation"]["range-in-data"]
    np.testing.assert_array_equal(bounds["low"], observations.min(axis=0))
    np.testing.assert_array_equal(bounds["high"], observations.max(axis=0))
    card = (policy / "model-card.md").read_text()
    assert f"150 transitions in 3 episodes, digest `{contract['dataset-digest']}`" in card
    assert "lowest and the highest value of each observation" in card


def test_the_card_says_how_it_was_trained_and_what_it_must_not_be_trusted_with(
    policy: Path, checkpoint: Path, tmp_path: Path
) -> None:
    card = (policy / "model-card.md").read_text()
    assert "4 updates on the data below, then no fine-tuning." in card
    assert "Not a safety device" in card
    assert "Never tried." in card
    assert "up\n  to 0.25 s later" in card
    assert yaml.safe_load(card.split("---\n")[1])["tags"][-1] == "qc-fql"
    tuned, agent = tmp_path / "tuned", load_agent(checkpoint, torch.device("cpu"))
    save_checkpoint(tuned, agent, replace(read_info(checkpoint), online_steps=12, trial=1), [])
    contract = export(tuned, tmp_path / "policy")
    assert contract["tuning"] == {"trials": 2, "best-trial": 1}
    card = (tmp_path / "policy" / "model-card.md").read_text()
    assert "then 12 environment steps of fine-tuning in the simulator, the best of up to 2" in card
    contract["provenance"]["parent"] = "cube:1"
    assert "begun with the weights of `cube:1`, then" in model_card(contract)
    assert "Simulator only." in card


def test_checkpoints_from_before_the_extent_was_noted_are_exported(
    checkpoint: Path, tmp_path: Path
) -> None:
    agent = load_agent(checkpoint, torch.device("cpu"))
    info = replace(read_info(checkpoint), dataset_extent=None, dataset_source=None)
    save_checkpoint(tmp_path / "old", agent, info, [])
    contract = export(tmp_path / "old", tmp_path / "policy")
    assert (contract["transitions"], contract["observation"]["range-in-data"]) == (None, None)
    card = (tmp_path / "policy" / "model-card.md").read_text()
    assert "Of unknown size" in card
    assert "was not noted" in card


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, dataset: Path) -> None:
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
def test_a_checkpoint_that_may_not_be_read_is_named(
    checkpoint: Path, tmp_path: Path, forbid: Callable[[Path], None], name: str
) -> None:
    forbid(checkpoint / name)
    with pytest.raises(RunError, match=r"checkpoint\.json cannot be read"):
        export(checkpoint, tmp_path / "policy")
