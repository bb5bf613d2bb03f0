"""The runtime executes chunks and returns no action for invalid input."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qc_core.errors import QCError, RunError, UsageError
from qc_core.policy_format.policy_folder import write_checksums
from qc_core.runtime import ChunkPolicy


def test_a_single_observation_gives_the_same_as_a_batch(policy: Path) -> None:
    runner = ChunkPolicy.load(policy)
    batch = np.random.default_rng(0).normal(size=(4, 28))
    noise = np.random.default_rng(1).normal(size=(4, 25))
    chunks = runner.chunk(batch, noise)
    assert chunks.shape == (4, 5, 5)
    np.testing.assert_allclose(runner.chunk(batch[2], noise[2]), chunks[2], atol=1e-6)


def test_noise_is_drawn_from_the_seed(policy: Path) -> None:
    observation = np.zeros(28)
    first, second = ChunkPolicy.load(policy, seed=3), ChunkPolicy.load(policy, seed=3)
    np.testing.assert_array_equal(first.chunk(observation), second.chunk(observation))
    assert not np.array_equal(first.chunk(observation), second.chunk(observation[None] + 1)[0])


def test_act_executes_a_chunk_open_loop_until_reset(policy: Path) -> None:
    runner, same = ChunkPolicy.load(policy, seed=0), ChunkPolicy.load(policy, seed=0)
    chunk = same.chunk(np.zeros(28))
    for step in range(5):
        np.testing.assert_array_equal(runner.act(np.full(28, float(step))), chunk[step])
    following = same.chunk(np.full(28, 9.0))
    np.testing.assert_array_equal(runner.act(np.full(28, 9.0)), following[0])
    runner.reset()
    np.testing.assert_array_equal(runner.act(np.zeros(28)), same.chunk(np.zeros(28))[0])


def test_a_shorter_execution_horizon_asks_again_earlier(policy: Path) -> None:
    runner = ChunkPolicy.load(policy, seed=0, execution_horizon=2)
    same = ChunkPolicy.load(policy, seed=0)
    for question in range(2):
        chunk = same.chunk(np.full(28, float(question)))
        np.testing.assert_array_equal(runner.act(np.full(28, float(question))), chunk[0])
        np.testing.assert_array_equal(runner.act(np.full(28, 9.0)), chunk[1])


@pytest.mark.parametrize("horizon", [0, 6, -1])
def test_an_execution_horizon_beyond_the_chunk_is_refused(policy: Path, horizon: int) -> None:
    message = rf"execution horizon must be in \[1, 5\].* got {horizon}"
    with pytest.raises(UsageError, match=message):
        ChunkPolicy.load(policy, execution_horizon=horizon)


def test_an_execution_horizon_above_the_chunk_length_is_refused(
    policy: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(policy, tmp_path / "copy"))
    contract = json.loads((copy / "policy.json").read_text())
    (copy / "policy.json").write_text(json.dumps({**contract, "execution-horizon": 6}))
    write_checksums(copy)
    with pytest.raises(UsageError, match=r"must be in \[1, 5\].* got 6"):
        ChunkPolicy.load(copy)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (np.zeros(27), r"observations \[B, 28\], got \[27\]"),
        (np.zeros((2, 3, 28)), r"got \[2, 3, 28\]"),
        (np.full(28, np.nan), "NaN or infinity"),
        (np.full(28, np.inf), "NaN or infinity"),
        (np.full(28, 1e300), "NaN or infinity"),
        (np.full(28, "1"), "must be real numbers, got <U1"),
        (np.full(28, 1j), "must be real numbers, got complex128"),
        ([None] * 28, "must be real numbers, got object"),
        ([[1.0], [1.0, 2.0]], "must be one array of numbers"),
    ],
)
@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_invalid_observation_raises_and_consumes_no_action(
    policy: Path, observation: Any, message: str, prefetch: int
) -> None:
    with (
        ChunkPolicy.load(policy, seed=0, prefetch=prefetch) as runner,
        ChunkPolicy.load(policy, seed=0, prefetch=prefetch) as undisturbed,
    ):
        with pytest.raises(UsageError, match=message):
            runner.chunk(observation)
        for step in range(12):
            with pytest.raises(UsageError):
                runner.act(observation)
            good = np.full(28, step / 10)
            np.testing.assert_array_equal(runner.act(good), undisturbed.act(good))


@pytest.mark.filterwarnings("error")
def test_a_huge_observation_is_finite(policy: Path) -> None:
    """The square of the observation overflows float32."""
    runner = ChunkPolicy.load(policy, seed=0)
    for kind in (np.float32, np.float64):
        assert np.abs(runner.chunk(np.full(28, 1e20, kind))).max() <= 1
        huge = np.full((1, 28), 1e20, kind)
        huge[0, 3] = np.nan
        with pytest.raises(UsageError, match="NaN or infinity"):
            runner.chunk(huge)


def test_prefetch_executes_each_chunk_at_its_time(policy: Path) -> None:
    observations = np.random.default_rng(0).normal(size=(11, 28))
    same = ChunkPolicy.load(policy, seed=5)
    chunks = {asked: same.chunk(observations[asked]) for asked in (0, 3, 6)}
    expected = [*chunks[0], *chunks[3][2:], *chunks[6][2:]]
    with ChunkPolicy.load(policy, seed=5, prefetch=2, timeout=30) as runner:
        played = [runner.act(observation) for observation in observations]
    np.testing.assert_allclose(played, expected, atol=1e-6)


@pytest.mark.parametrize("prefetch", [0, 1])
def test_a_seeded_reset_repeats_the_episode(policy: Path, prefetch: int) -> None:
    observations = np.random.default_rng(0).normal(size=(8, 28))
    with ChunkPolicy.load(policy, prefetch=prefetch) as runner:

        def episode(seed: int | None) -> list[np.ndarray]:
            runner.reset(seed)
            return [runner.act(observation) for observation in observations]

        first = episode(7)
        assert not np.array_equal(episode(None), first)
        np.testing.assert_array_equal(episode(7), first)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_closed_policy_refuses_to_act(policy: Path, prefetch: int) -> None:
    with ChunkPolicy.load(policy, prefetch=prefetch) as runner:
        runner.act(np.zeros(28))
    with pytest.raises(UsageError, match="the policy is closed: load it again"):
        runner.act(np.zeros(28))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefetch": 3}, r"prefetch must be in \[0, 2\] control steps"),
        ({"prefetch": 2, "execution_horizon": 1}, r"prefetch must be in \[0, 1\]"),
        ({"prefetch": 2, "timeout": -1}, "timeout is for a late chunk"),
        ({"timeout": 0.1}, "with prefetch, got 0.1 with prefetch 0"),
        ({"prefetch": 1.5}, r"prefetch must be in \[0, 2\] control steps .*got 1.5"),
        ({"prefetch": 2, "timeout": float("inf")}, "timeout is for a late chunk: .*got inf"),
        ({"prefetch": 2, "timeout": float("nan")}, "timeout is for a late chunk: .*got nan"),
        ({"prefetch": 2, "timeout": 1e30}, "timeout is for a late chunk: .*got 1e\\+30"),
        ({"prefetch": 2, "timeout": "1"}, "timeout is for a late chunk: .*got '1'"),
        ({"execution_horizon": 2.5}, r"execution horizon must be in \[1, 5\].* got 2.5"),
        ({"execution_horizon": "5"}, r"execution horizon must be in \[1, 5\].* got '5'"),
        ({"seed": -1}, "the seed must be an integer from 0 on, got -1"),
        ({"seed": "x"}, "the seed must be an integer from 0 on, got 'x'"),
        ({"threads": 0}, "threads must be an integer from 1 on, got 0"),
        ({"threads": "a"}, "threads must be an integer from 1 on, got 'a'"),
    ],
)
def test_invalid_arguments_are_refused(policy: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ChunkPolicy.load(policy, **options)


def test_an_invalid_seed_changes_nothing(policy: Path) -> None:
    runner, undisturbed = ChunkPolicy.load(policy, seed=0), ChunkPolicy.load(policy, seed=0)
    runner.act(np.zeros(28))
    undisturbed.act(np.zeros(28))
    with pytest.raises(UsageError, match="the seed must be an integer from 0 on, got -1"):
        runner.reset(-1)
    np.testing.assert_array_equal(runner.act(np.zeros(28)), undisturbed.act(np.zeros(28)))


def test_act_refuses_a_batch(policy: Path) -> None:
    with pytest.raises(UsageError, match=r"act takes one observation \[28\], got \[1, 28\]"):
        ChunkPolicy.load(policy).act(np.zeros((1, 28)))


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (np.zeros((25, 2)), r"noise \[2, 25\], got \[25, 2\]"),
        (np.zeros(50), r"got \[50\]"),
        (np.full((2, 25), np.nan), "noise holds NaN"),
    ],
)
def test_invalid_noise_is_refused(policy: Path, noise: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ChunkPolicy.load(policy).chunk(np.zeros((2, 28)), noise)


@pytest.mark.parametrize(
    "contract", [[], {}, {"schema-version": 1}, {"schema-version": "1"}, {"schema-version": None}]
)
def test_an_invalid_policy_json_is_refused(tmp_path: Path, policy: Path, contract) -> None:
    copy = Path(shutil.copytree(policy, tmp_path / "copy"))
    (copy / "policy.json").write_text(json.dumps(contract))
    write_checksums(copy)
    with pytest.raises(UsageError, match=r"policy\.json"):
        ChunkPolicy.load(copy)


def test_an_invalid_model_file_is_refused(tmp_path: Path, policy: Path) -> None:
    copy = Path(shutil.copytree(policy, tmp_path / "copy"))
    (copy / "policy.onnx").write_bytes(b"junk")
    write_checksums(copy)
    with pytest.raises(RunError, match=r"policy\.onnx cannot be opened"):
        ChunkPolicy.load(copy)


@pytest.mark.parametrize("name", ["policy.onnx", "policy.json", "golden.npz", "model-card.md"])
def test_an_altered_file_is_refused_by_name(tmp_path: Path, policy: Path, name: str) -> None:
    copy = Path(shutil.copytree(policy, tmp_path / "copy"))
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(RunError, match=name):
        ChunkPolicy.load(copy)
    (copy / name).unlink()
    with pytest.raises(RunError, match=f"{name} is missing"):
        ChunkPolicy.load(copy)


def test_an_unknown_schema_is_refused(tmp_path: Path, policy: Path) -> None:
    copy = Path(shutil.copytree(policy, tmp_path / "copy"))
    contract = json.loads((copy / "policy.json").read_text())
    (copy / "policy.json").write_text(json.dumps({**contract, "schema-version": 3}))
    write_checksums(copy)
    with pytest.raises(UsageError, match="policy schema 1 or 2 is needed, got 3"):
        ChunkPolicy.load(copy)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QCError, match="is not a policy folder"):
        ChunkPolicy.load(tmp_path)


def test_running_a_policy_writes_nothing_to_the_home_folder(policy: Path, tmp_path: Path) -> None:
    """onnxruntime 1.32 and later would store a device id there."""
    program = (
        f"import numpy; from qc_core.runtime import ChunkPolicy; "
        f"ChunkPolicy.load({str(policy)!r}).act(numpy.zeros(28))"
    )
    homes = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", program], check=True, env={**environment, **homes})
    assert list(tmp_path.iterdir()) == []
