"""Commands report errors in one line, return the right exit code and leave no files."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch

from qc_core.cli.main import main
from qc_core.config.catalog import RECIPES
from qc_core.envs.make import describe
from qc_core.networks.kernels import choose
from qc_core.policy_format.policy_folder import write_checksums
from tests.conftest import write_random_dataset
from tests.quick_environment import QUICK


def refused(capsys: pytest.CaptureFixture[str], words: list[str], code: int = 2) -> str:
    """Run a command that must fail; returns its one line."""
    assert main(words) == code
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line]
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("qc: ")
    assert captured.out == ""
    return lines[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "unknown command 'rnu': see qc --help. Did you mean run?"),
        (["run"], "required: recipe"),
        (["run", "smoek"], "Did you mean smoke?"),
        (["run", "smoke", "--train.ofline-steps", "3"], "Did you mean --train.offline-steps?"),
        (["run", "smoke", "--sede", "3"], "unknown option --sede. Did you mean --seed?"),
        (["run", "smoke", "--train.method", "qcx"], "unknown method 'qcx'"),
        (["run", "smoke", "--seed"], "--seed"),
        (["run", "smoke", "extra"], "unknown option extra"),
        (["ingest", "smoke", "-o", "out", "--environment", "cube-singel-v0"], "Did you mean"),
        (["ingest", "smoke", "-o", "out", "--data", "none.npz"], "none.npz does not exist"),
        (["ingest", "smoke"], "-o/--output"),
        (["ingest", "-o", "out"], "required: recipe"),
        (["describe", "none"], "none does not exist"),
        (["describe", "collect"], "qc describe takes a path or minari:ID"),
        (["describe", "smoke", "none"], "unknown option none"),
        (["describe", "none", "--episodes", "3"], "unknown option --episodes"),
        (["rollback"], "required: name"),
        (["ingest", "smoke", "-o", "out", "--data", "minari:x"], "is not a Minari id"),
        (["ingest", "smoke", "-o", "out", "--data", "ogbench:x"], "is no official dataset"),
        (
            ["ingest", "smoke", "-o", "out", "--data", "store:x"],
            "store:episodes from the store, got store:x",
        ),
        (["ingest", "smoke", "-o", "out", "--data", "collect", "collect"], "names a source twice"),
        (["ingest", "smoke", "-o", "out", "--data", "store:episodes"], "no episodes of cube"),
        (["episodes", "push", "none.npz", "--environment", "x"], "none.npz does not exist"),
        (["pretrain", "smoke", "none", "-o", "out"], "none is not a dataset folder"),
        (["tune", "smoke", "none", "none", "-o", "out"], "none is not"),
        (["evaluate", "smoke", "none", "none", "-o", "out.json"], "none is not a checkpoint"),
        (["export", "none", "-o", "out"], "none is not a checkpoint folder"),
        (["sweep", "none.yaml"], "cannot read none.yaml"),
        (["promote", "smoke", "none"], "none is not a policy folder"),
        (["compile", "smoke", "-o", "out.txt"], "the output must be a .yaml file, got out.txt"),
        (["pull", "none", "-o", "out"], "there is no policy 'none'"),
        (["play", "x" * 5000], "policy name has up to 100"),
        (["play", "none"], "there is no folder 'none' here, and there is no policy 'none'"),
        (["play", "none", "--episodes", "0"], "--episodes must be at least 1, got 0"),
        (["play", "none", "--video", "x.avi"], "--video writes an .mp4 file"),
        (["play", "none", "--against", "x"], "qc coherence POLICY --against DIR"),
        (["coherence", "none", "--video", "y.mp4"], "unknown option --video"),
        (["coherence", "none", "-o", "x.png"], "--output must be an .svg file, got x.png"),
        (["coherence", "none"], "there is no folder 'none' here, and there is no policy 'none'"),
        (["coherence", "none", "--episodes", "0"], "--episodes must be at least 1"),
        (["episodes"], "required: SUBCOMMAND"),
        (["episodes", "pull"], "invalid choice: 'pull'"),
        (["episodes", "list", "x.npz"], "unknown option x.npz"),
        (["episodes", "push", "x.npz"], "give --environment ID, or --policy NAME"),
        (["run", "smoke", "--outptu", "x"], "Did you mean --output?"),
        (["policies", "none"], "there is no policy 'none'"),
        (["run", "smoke", "--publish.name", "My Policy"], "got 'My Policy'"),
        (["ingest", "smoke", "-o", "out", "--data", "x" * 5000], "cannot be the path"),
        (["ingest", "smoke", "-o", "out", "--data", "a\0b"], "cannot be the path"),
    ],
)
def test_wrong_usage_is_one_line_and_leaves_no_files(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    message: str,
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert message in refused(capsys, words)
    assert list(empty.iterdir()) == []


def test_output_folders_in_use_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: Path, checkpoint: Path
) -> None:
    (tmp_path / "mine").write_text("x")
    out = str(tmp_path)
    for words in (
        ["run", "smoke", "-o", out],
        ["ingest", "smoke", "-o", out],
        ["pretrain", "smoke", str(dataset), "-o", out, "--environment", QUICK],
        ["tune", "smoke", str(dataset), str(checkpoint), "-o", out, "--environment", QUICK],
        ["export", str(checkpoint), "-o", out],
    ):
        assert "is in use" in refused(capsys, words)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    "command",
    [
        "ingest smoke --data none -o plain/x",
        "pretrain smoke none -o plain/x",
        "tune smoke none none -o plain/x",
        "tune smoke none none -o x --history plain/x.json",
        "tune smoke none none -o x --history folder",
        "tune smoke none none -o x --history x",
        "tune smoke none none -o x/y --history x",
        "evaluate smoke none none -o plain/x.json",
        "evaluate smoke none none -o folder",
        "export none -o plain/x",
        "play none --record plain/x.npz",
        "play none --record folder.npz",
        "play none --video plain/x.mp4",
        "play none --video folder.mp4",
        "coherence none -o plain/x.svg",
        "coherence none -o folder.svg",
        "sweep sweep.yaml -o plain/x",
    ],
)
def test_an_unwritable_output_is_refused_before_inputs_are_read(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "plain").touch()
    for name in ("folder", "folder.npz", "folder.mp4", "folder.svg"):
        (place / name).mkdir()
    (place / "sweep.yaml").write_text(
        "{name: x, recipes: [smoke], methods: [qc], seeds: [0], evaluate-every: 1, episodes: 1}"
    )
    before = sorted(place.rglob("*"))
    line = refused(capsys, command.split())
    expected = ("plain is not a folder", "is not a file: choose another", "choose another file")
    assert any(part in line for part in expected), line
    assert sorted(place.rglob("*")) == before


def test_a_run_is_refused_if_the_store_is_not_writable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QC_STORE", str(tmp_path / "file"))
    assert main(["run", "smoke", "-o", str(tmp_path / "run")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_json_output(capsys: pytest.CaptureFixture[str], policy: Path) -> None:
    from qc_core.registry.registry import Registry
    from qc_core.store.open import open_store

    registry = Registry(open_store())
    version = registry.publish(policy, "cube")
    registry.set_alias("cube", "latest", version)

    def output(*words: str):
        assert main([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert {recipe["name"] for recipe in output("recipes")} == set(RECIPES)
    (entry,) = output("policies")
    assert (entry["name"], entry["version"], entry["aliases"], entry["success"]) == (
        "cube",
        version,
        ["latest"],
        None,
    )
    info = output("info")
    assert info["store"].endswith("answers")
    assert info["training-precision"] == choose(torch.device("cpu"), "auto").name
    played = output("play", str(policy), "--episodes", "2", "--workers", "1")
    assert played["episodes"] == 2
    assert 0 <= played["success"]["value"] <= 1


def test_tables_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    assert "cube-single-quickstart" in capsys.readouterr().out
    assert main(["policies"]) == 0
    assert "no policies in" in capsys.readouterr().out
    assert main([]) == main(["--help"]) == 0
    assert "first steps" in capsys.readouterr().out
    assert main(["run", "--help"]) == 0
    assert "--train.offline-steps" in capsys.readouterr().out


def test_coherence_prints_measures_and_draws_a_figure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, policy: Path
) -> None:
    figure = tmp_path / "figure.svg"
    words = ["coherence", str(policy), "-o", str(figure), "--episodes", "2", "--workers", "1"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    for word in ("chunks of 5, open loop", "single actions", "difference", "autocorrelation"):
        assert word in shown
    assert "100 steps of 2 of 2 episodes" in shown
    assert figure.read_text().startswith("<svg")
    assert main([*words, "--json", "--execution-horizon", "3"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [rollout["name"] for rollout in printed["rollouts"]] == [
        "chunks of 3, open loop",
        "single actions",
    ]
    assert len(printed["rollouts"][0]["per-episode"]) == 2


def test_play_with_an_execution_horizon(capsys: pytest.CaptureFixture[str], policy: Path) -> None:
    words = ["play", str(policy), "--episodes", "1", "--workers", "1", "--execution-horizon"]
    assert main([*words, "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["execution-horizon"] == 2
    assert "must be in [1, 5], the policy's actions per chunk, got 6" in refused(
        capsys, [*words, "6"]
    )


def test_steps_as_commands(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recorded = write_random_dataset(tmp_path / "recorded", describe(QUICK))
    quick = ["--environment", QUICK, "--data", str(recorded), "--evaluate.episodes", "1"]
    quick += ["--train.offline-steps", "4", "--train.online-steps", "6"]
    quick += ["--train.learning-starts", "2", "--tune.trials", "1"]
    for words in (
        ["ingest", "smoke", "-o", "data", *quick],
        ["pretrain", "smoke", "data", "-o", "offline", *quick],
        ["tune", "smoke", "data", "offline", "-o", "online", *quick],
        ["evaluate", "smoke", "offline", "online", "-o", "evaluation.json", *quick],
        ["export", "online", "-o", "policy", "--evaluation", "evaluation.json"],
        ["promote", "smoke", "policy", *quick],
        ["pull", "smoke@champion", "-o", "pulled"],
    ):
        assert main(words) == 0, capsys.readouterr().err
    assert (tmp_path / "pulled" / "policy.onnx").exists()


def test_an_error_in_a_worker_is_one_line(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, policy: Path
) -> None:
    copy = Path(shutil.copytree(policy, tmp_path / "copy"))
    contract = json.loads((copy / "policy.json").read_text())
    (copy / "policy.json").write_text(json.dumps({**contract, "environment": "no-such-v0"}))
    write_checksums(copy)
    assert main(["play", str(copy), "--episodes", "4"]) == 2
    shown = capfd.readouterr().err
    assert "qc: unknown environment 'no-such-v0'" in shown
    assert "Traceback" not in shown


def test_a_run_is_refused_if_the_device_is_unusable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("QC_DEVICE", "warp")
    assert "QC_DEVICE=warp cannot be used here" in refused(
        capsys, ["run", "smoke", "-o", str(tmp_path / "run")]
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["play", "none"], ["ingest", "smoke", "-o", "out"]])
def test_an_unknown_renderer_is_refused(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qc_core.cli.main", *words],
        cwd=tmp_path,
        env={**os.environ, "MUJOCO_GL": "foo", "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "qc: MUJOCO_GL must be egl, glfw, osmesa or disable, or not set" in done.stderr


@pytest.mark.parametrize("words", [["policies"], ["episodes", "list"], ["pull", "x", "-o", "out"]])
def test_an_unreadable_store_is_not_reported_as_empty(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    forbid: Callable[[Path], None],
    words: list[str],
) -> None:
    (tmp_path / "store").mkdir()
    forbid(tmp_path / "store")
    assert "store cannot be read (Permission denied)" in refused(capsys, words, code=1)


def test_control_characters_in_errors_are_not_printed(
    capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    manifest = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(manifest | {"environment": "x\n\x1b[2Jy"}))
    words = ["ingest", "smoke", "-o", str(tmp_path / "out"), "--data", str(copy)]
    assert "holds rewards for x??[2Jy, not cube" in refused(capsys, words)


def test_debug_shows_the_traceback() -> None:
    command = [sys.executable, "-m", "qc_core.cli.main", "describe", "none.npz"]
    plain = subprocess.run(command, capture_output=True, text=True)
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True)
    assert plain.returncode == 2 and "Traceback" not in plain.stderr
    assert debug.returncode != 0 and "Traceback" in debug.stderr


def test_an_npz_file_without_terminals_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("bad.npz", observations=np.zeros((3, 28)), actions=np.zeros((3, 5)))
    words = ["ingest", "smoke", "-o", "out", "--data", "bad.npz"]
    assert "array 'terminals' is missing" in refused(capsys, words)


def help_to(file: IO[bytes], *, buffered: bool = True) -> tuple[int, str]:
    """Exit code and stderr of `qc --help > file`."""
    done = subprocess.run(
        [sys.executable, "-m", "qc_core.cli.main", "--help"],
        stdout=file,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"},
    )
    return done.returncode, done.stderr


def closed_pipe() -> IO[bytes]:
    """A pipe without a reader."""
    read, write = os.pipe()
    os.close(read)
    return open(write, "wb")


def test_a_closed_pipe_after_success_is_no_error() -> None:
    with closed_pipe() as pipe:
        assert help_to(pipe) == (0, "")


def test_a_closed_pipe_during_the_work_ends_quietly() -> None:
    with closed_pipe() as pipe:
        assert help_to(pipe, buffered=False) == (141, "")


def test_output_to_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        assert help_to(full) == (1, "qc: cannot write the output: No space left on device\n")
