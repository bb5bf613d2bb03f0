"""robomimic's files are converted as in the paper's code, and hostile files are refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from qc_core.config.settings import Config, DataConfig
from qc_core.data.dataset.dataset import open_dataset
from qc_core.data.describe import describe_source
from qc_core.data.ingest import ingest
from qc_core.data.replay.replay import OfflineData
from qc_core.errors import UsageError

Lift = Callable[..., Config]
Change = Callable[[h5py.File], None]

SIZES = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2, "object": 10}
ENV_ARGS = {"env_name": "Lift", "env_type": 1, "env_kwargs": {"control_freq": 20}}
# Demonstrations by number; the dones of each.
DONES = {0: [0, 0, 1], 2: [0, 1, 0, 1, 1], 10: [0, 0, 0, 1]}


def write_file(
    path: Path,
    *,
    next_obs: bool = True,
    object_key: str = "object",
    dones: Any = None,
    rewards: Any = None,
) -> Path:
    """A small low_dim file for Lift."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(ENV_ARGS)
        for number, ends in (dones or DONES).items():
            demo = data.create_group(f"demo_{number}")
            rows = len(ends)
            states = {k: rng.normal(size=(rows + 1, size)) for k, size in SIZES.items()}
            for key, values in states.items():
                key = object_key if key == "object" else key
                demo[f"obs/{key}"] = values[:-1]
                if next_obs:
                    demo[f"next_obs/{key}"] = values[1:]
            demo["actions"] = rng.uniform(-1, 1, (rows, 7))
            demo["rewards"] = np.array(ends, float) if rewards is None else rewards[number]
            demo["dones"] = np.array(ends)
        file["mask/few"] = np.array([b"demo_10", b"demo_2"])
        file["mask/lost"] = np.array([b"demo_10", b"demo_99"])
    return path


@pytest.mark.parametrize(
    ("version", "pose_first"), [(None, True), ("1.4.1", True), ("1.5.1", False), ("2.0", False)]
)
def test_object_observations_are_in_the_order_of_the_environment(
    tmp_path: Path, config: Config, version: str | None, pose_first: bool
) -> None:
    path = write_file(tmp_path / "can.hdf5")
    pose, relative = np.full((4, 7), 1.0), np.full((4, 7), 2.0)
    with h5py.File(path, "r+") as file:
        data: Any = file["data"]
        arguments = {**ENV_ARGS, "env_name": "PickPlaceCan"}
        if version is not None:
            arguments["env_version"] = version
        data.attrs["env_args"] = json.dumps(arguments)
        for name in ("demo_0", "demo_2"):
            del data[name]
        for part in ("obs", "next_obs"):
            del data[f"demo_10/{part}/object"]
            both = (pose, relative) if pose_first else (relative, pose)
            data[f"demo_10/{part}/object"] = np.concatenate(both, axis=1)
    can = replace(
        config,
        environment="robomimic/can-v0",
        data=replace(config.data, source=(str(path),)),
    )
    ingest(can, tmp_path / "d")
    dataset = open_dataset(tmp_path / "d")
    names = dataset.spec.observation_names
    for row in dataset.observations:
        values = dict(zip(names, row, strict=True))
        assert values["Can_pos_x"] == values["Can_quat_w"] == 1
        assert values["Can_to_robot0_eef_pos_x"] == values["Can_to_robot0_eef_quat_w"] == 2


def joined(path: Path, demos: list[int], part: str) -> np.ndarray:
    """One array of the file over demonstrations, observations in the paper's order."""
    with h5py.File(path) as file:
        groups: list[Any] = [file[f"data/demo_{number}"] for number in demos]
        if not part.endswith("obs"):
            return np.concatenate([group[part][()] for group in groups])
        return np.concatenate(
            [np.concatenate([group[part][key][()] for key in SIZES], axis=1) for group in groups]
        )


@pytest.fixture
def lift(config: Config) -> Lift:
    def configured(path: Path, **data: Any) -> Config:
        chosen = replace(config.data, source=(str(path),), **data)
        return replace(config, environment="robomimic/lift-v0", data=chosen)

    return configured


def loaded(config: Config, output: Path) -> OfflineData:
    ingest(config, output)
    return OfflineData(open_dataset(output, verify=True), torch.device("cpu"), DataConfig())


def test_transitions_match_the_file_in_the_order_of_the_demonstrations(
    tmp_path: Path, lift: Lift
) -> None:
    path = write_file(tmp_path / "low_dim.hdf5")
    data = loaded(lift(path), tmp_path / "dataset")
    demos, every = [0, 2, 10], torch.arange(12)
    np.testing.assert_allclose(data.observations_at(every), joined(path, demos, "obs"), rtol=1e-6)
    np.testing.assert_allclose(
        data.next_observations_at(every), joined(path, demos, "next_obs"), rtol=1e-6
    )
    np.testing.assert_allclose(data.actions, joined(path, demos, "actions"), atol=1e-4)
    np.testing.assert_allclose(data.rewards, joined(path, demos, "rewards"), rtol=1e-6)
    dones = joined(path, demos, "dones")
    np.testing.assert_array_equal(data.terminals, dones)
    np.testing.assert_array_equal(data.masks, 1 - dones)
    info = open_dataset(tmp_path / "dataset").info
    assert info.environment == "robomimic/lift-v0"
    assert info.episodes == dones.sum()
    assert info.source.demonstrations == 3


def test_missing_next_observations_are_taken_from_the_next_row(tmp_path: Path, lift: Lift) -> None:
    path = write_file(tmp_path / "raw.hdf5", next_obs=False, object_key="object-state")
    data = loaded(lift(path), tmp_path / "dataset")
    plain = write_file(tmp_path / "plain.hdf5")
    observations = joined(plain, [0, 2, 10], "obs")
    after = np.concatenate([observations[1:], observations[-1:]])
    lasts = [2, 7, 11]
    after[lasts] = observations[lasts]
    every = torch.arange(12)
    np.testing.assert_allclose(data.observations_at(every), observations, rtol=1e-6)
    np.testing.assert_allclose(data.next_observations_at(every), after, rtol=1e-6)
    assert data.masks[lasts].max() == 0


@pytest.mark.parametrize("next_obs", [True, False])
def test_an_unsolved_demonstration_ends_by_time(tmp_path: Path, lift: Lift, next_obs: bool) -> None:
    path = write_file(tmp_path / "failed.hdf5", next_obs=next_obs, dones={0: [0, 0, 0]})
    data = loaded(lift(path), tmp_path / "dataset")
    assert data.terminals.tolist() == [0.0, 0.0, 1.0]
    assert data.masks.tolist() == [1.0] * 3
    following = "next_obs" if next_obs else "obs"
    np.testing.assert_allclose(
        data.next_observations_at(torch.tensor([2]))[0], joined(path, [0], following)[-1], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("success", "ended"),
    [("auto", [3]), ("done", [2, 3, 4]), ("final-reward>=1", []), ("none", [])],
)
def test_the_reward_decides_whether_an_end_is_a_success(
    tmp_path: Path, lift: Lift, success: str, ended: list[int]
) -> None:
    # As `--done_mode 2` writes it: the first demonstration fails, but is done in its last row.
    path = write_file(
        tmp_path / "failed.hdf5",
        dones={0: [0, 0, 1], 1: [1, 1, 0]},
        rewards={0: [0, 0, 0], 1: [1, 0, 0]},
    )
    ingest(lift(path, success=success), tmp_path / "dataset")
    dataset = open_dataset(tmp_path / "dataset")
    assert np.flatnonzero(dataset.masks == 0).tolist() == ended


def test_demonstrations_that_all_fail_are_not_solved_and_warned_about(
    tmp_path: Path, lift: Lift, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_file(
        tmp_path / "failed.hdf5", rewards={k: np.zeros(len(v)) for k, v in DONES.items()}
    )
    info = ingest(lift(path), tmp_path / "dataset")
    assert (info.solved_transitions, info.solved_episodes) == (0, 0)
    assert "WARNING: every reward in the data is 0" in capsys.readouterr().err


def test_rewards_and_dones_may_be_columns(tmp_path: Path, lift: Lift) -> None:
    plain = write_file(tmp_path / "plain.hdf5")
    path = write_file(tmp_path / "columns.hdf5")
    with h5py.File(path, "r+") as file:
        for number, ends in DONES.items():
            for name in ("rewards", "dones"):
                put(f"data/demo_{number}/{name}", np.array(ends, float)[:, None])(file)
    digests = [ingest(lift(file), tmp_path / file.stem).digest for file in (plain, path)]
    assert digests[0] == digests[1]


def test_demonstrations_of_another_robosuite_cannot_be_played_again(tmp_path: Path) -> None:
    path = write_file(tmp_path / "low_dim.hdf5")
    with pytest.raises(UsageError, match="records no seed and no simulator state"):
        describe_source(str(path), replays=1)
    with h5py.File(path, "r+") as file:
        demo: Any = file["data/demo_0"]
        demo["states"], demo.attrs["model_file"] = np.zeros((3, 5)), "<mujoco/>"
        data: Any = file["data"]
        data.attrs["env_args"] = json.dumps({**ENV_ARGS, "env_version": "1.4.1"})
    with pytest.raises(UsageError, match=r"with robosuite 1\.4, whose models robosuite 1\.5"):
        describe_source(str(path), replays=1)


def test_files_without_observations_are_identified(tmp_path: Path, lift: Lift) -> None:
    path = write_file(tmp_path / "raw.hdf5")
    with h5py.File(path, "r+") as file:
        for number in DONES:
            del file[f"data/demo_{number}/obs"]
    with pytest.raises(UsageError, match=r"no observations: .* dataset_states_to_obs\.py"):
        ingest(lift(path), tmp_path / "dataset")
    with h5py.File(path, "r+") as file:
        attributes: Any = file["data"].attrs
        del attributes["env_args"]
        attributes.update(env="Lift", env_info="{}", repository_version="1.4.1")
    with pytest.raises(
        UsageError, match=r"a raw demonstration of robosuite.*convert_robosuite\.py"
    ):
        ingest(lift(path), tmp_path / "dataset")


CONTROLLER = {"type": "OSC_POSE", "control_delta": True, "kp": 150, "damping": 1}
CONTROLLER |= {"output_max": [0.05, 0.05, 0.05, 0.5, 0.5, 0.5], "uncouple_pos_ori": True}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (None, ""),
        ({"robots": ["Panda"], "controller_configs": CONTROLLER, "reward_shaping": False}, ""),
        ({"robots": "Panda", "horizon": 1000, "ignore_done": True}, ""),
        ({"controller_configs": {"body_parts": {"right": {"input_type": "delta"}}}}, ""),
        ({"reward_shaping": True}, "reward_shaping is True, it must be False: extract"),
        ({"robots": ["Sawyer"]}, "robots is 'Sawyer', it must be 'Panda'"),
        ({"robots": ["Panda", "Panda"]}, "robots is "),
        ({"horizon": 500}, "horizon is 500, it must be 300"),
        ({"controller_configs": CONTROLLER | {"control_delta": False}}, "control_delta.*absolute"),
        (
            {"controller_configs": {"body_parts": {"right": {"input_type": "absolute"}}}},
            "input_type.*absolute poses",
        ),
        ({"controller_configs": CONTROLLER | {"output_max": 0.1}}, "output_max is 0.1"),
        ({"controller_configs": CONTROLLER | {"type": "JOINT_VELOCITY"}}, "type is 'JOINT_VEL"),
    ],
)
def test_another_environment_than_that_of_the_file_is_refused(
    tmp_path: Path, lift: Lift, kwargs: Any, message: str
) -> None:
    path = write_file(tmp_path / "low_dim.hdf5")
    with h5py.File(path, "r+") as file:
        file["data"].attrs["env_args"] = json.dumps(ENV_ARGS | {"env_kwargs": kwargs})
    if not message:
        assert ingest(lift(path), tmp_path / "dataset").episodes == 5
        return
    with pytest.raises(UsageError, match=message):
        ingest(lift(path), tmp_path / "dataset")


def test_absolute_actions_are_refused_and_few_outside_are_clipped(
    tmp_path: Path, lift: Lift, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_file(tmp_path / "absolute.hdf5")
    with h5py.File(path, "r+") as file:
        actions: Any = file["data/demo_10/actions"]
        actions[:, 3] = 3.1
    with pytest.raises(
        UsageError,
        match=r"4 of 12 actions \(33\.33%\) are outside the bounds: effector_rotation_dx from .* "
        r"to 3\.1 \(bounds -1 to 1, 33\.33% outside\).*absolute.*--data\.max-clipped 0\.34",
    ):
        ingest(lift(path), tmp_path / "dataset")
    ingest(lift(path, max_clipped=0.34), tmp_path / "dataset")
    assert open_dataset(tmp_path / "dataset").actions.max() == 1
    assert "clipped: 4 of 12 actions" in capsys.readouterr().err


def test_a_filter_selects_demonstrations(tmp_path: Path, lift: Lift) -> None:
    path = write_file(tmp_path / "low_dim.hdf5")
    data = loaded(lift(path, filter="few"), tmp_path / "dataset")
    np.testing.assert_allclose(data.rewards, joined(path, [2, 10], "rewards"), rtol=1e-6)


def test_a_wrong_environment_or_filter_is_refused(
    tmp_path: Path, lift: Lift, config: Config
) -> None:
    path = write_file(tmp_path / "low_dim.hdf5")
    for wrong, message in (
        (
            replace(lift(path), environment="robomimic/can-v0"),
            r"low_dim\.hdf5 holds rewards for robomimic/lift-v0, not robomimic/can-v0: "
            "give --environment robomimic/lift-v0",
        ),
        (lift(path, filter="fwe"), r"no filter 'fwe': it has few, lost\. Did you mean few\?"),
        (lift(path, filter="lost"), "mask/lost lists demo_99"),
        (replace(config, data=replace(config.data, filter="few")), r"--data\.filter chooses"),
    ):
        with pytest.raises(UsageError, match=message):
            ingest(wrong, tmp_path / "dataset")
    assert list(tmp_path.iterdir()) == [path]


def put(name: str, values: Any) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return change


def with_env_args(value: Any) -> Change:
    return lambda file: file["data"].attrs.update(env_args=value)


def nothing_left(file: h5py.File) -> None:
    data: Any = file["data"]
    for name in list(data):
        del data[name]


SECRET = h5py.ExternalLink("/etc/hostname.hdf5", "/data")
HUGE = np.full((3, 7), 1e300)
NAN = np.array([[np.nan] * 7] * 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("data", SECRET), "/data is a link, which is not followed"),
        (put("data/demo_0", SECRET), "demo_0 is a link"),
        (put("data/demo_2/actions", SECRET), "demo_2/actions is a link"),
        (put("data/demo_2/obs/object", h5py.SoftLink("/data")), "obs/object is a link"),
        (put("data/demo_2/obs", np.zeros(3)), "robot0_eef_pos is missing"),
        (put("data/demo_0/actions", np.zeros((3, 6))), r"shape \[rows, 7\], got \[3, 6\]"),
        (put("data/demo_0/actions", np.zeros((2, 7))), r"equally many rows, got \[2, 3\]"),
        (put("data/demo_0/obs/object", np.zeros((3, 14))), r"shape \[rows, 10\], got \[3, 14\]"),
        (put("data/demo_0/obs/object", np.zeros((2, 10))), "keys must have equally many rows"),
        (put("data/demo_0/dones", np.zeros((3, 2))), r"dones must have shape \[rows\]"),
        (put("data/demo_0/rewards", [b"a", b"b", b"c"]), "rewards must be a numeric array"),
        (put("data/demo_0/actions", NAN), "demo_0: actions holds NaN or infinity in row 0"),
        (put("data/demo_0/actions", HUGE), "demo_0: actions holds NaN or infinity in row 0"),
        (put("mask/few", [1, 2]), "mask/few must be a list of names"),
        (with_env_args("{"), "env_args of /data is not readable JSON"),
        (
            with_env_args(json.dumps({"env_name": "Door"})),
            "robosuite environment 'Door' is unknown",
        ),
        (with_env_args(3), "env_args of /data must be JSON"),
        (
            with_env_args(json.dumps({"env_name": "Lift", "env_kwargs": {"control_freq": 10}})),
            "control_freq is 10, it must be 20",
        ),
        (nothing_left, "contains no demonstrations"),
    ],
)
def test_hostile_files_are_refused_and_no_files_are_written(
    tmp_path: Path, lift: Lift, change: Change, message: str
) -> None:
    path = write_file(tmp_path / "bad.hdf5")
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(UsageError, match=message) as refusal:
        ingest(lift(path), tmp_path / "dataset")
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == [path]


def test_data_in_external_files_are_not_read(tmp_path: Path, lift: Lift) -> None:
    path = write_file(tmp_path / "bad.hdf5")
    (tmp_path / "secret").write_bytes(np.zeros(21).tobytes())
    layout = h5py.VirtualLayout((3, 7), float)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.hdf5"), "x", shape=(3, 7))
    with h5py.File(path, "a") as file:
        demo: Any = file["data/demo_0"]
        del demo["actions"]
        demo.create_dataset("actions", (3, 7), "f8", external=[(str(tmp_path / "secret"), 0, 168)])
    with pytest.raises(UsageError, match="is in another file"):
        ingest(lift(path), tmp_path / "dataset")
    with h5py.File(path, "a") as file:
        demo = file["data/demo_0"]
        del demo["actions"]
        demo.create_virtual_dataset("actions", layout)
    with pytest.raises(UsageError, match="is in another file"):
        ingest(lift(path), tmp_path / "dataset")


def test_an_episode_that_claims_too_many_rows_is_refused(tmp_path: Path, lift: Lift) -> None:
    path = write_file(tmp_path / "bomb.hdf5")
    with h5py.File(path, "a") as file:
        demo: Any = file["data/demo_0"]
        del demo["dones"]
        demo.create_dataset("dones", (10**12,), dtype="i8", chunks=(1000,))
    with pytest.raises(UsageError, match="the arrays need 8,000,000 MB or more"):
        ingest(lift(path), tmp_path / "dataset")


def test_truncated_and_foreign_files_are_refused(tmp_path: Path, lift: Lift) -> None:
    path = write_file(tmp_path / "bad.hdf5")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], b"", b"not HDF5"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="is not an HDF5 file, or it is damaged") as refusal:
            ingest(lift(path), tmp_path / "dataset")
        assert "\n" not in str(refusal.value)
