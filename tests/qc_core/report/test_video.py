"""A video is rendered if a renderer works; otherwise the note gives the reason."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qc_core.config.settings import Config
from qc_core.envs.make import describe
from qc_core.export.export import export
from qc_core.policy_format.policy_folder import write_checksums
from qc_core.report.video import film_episodes, film_policy
from qc_core.training.pretrain import pretrain
from tests.conftest import write_random_dataset
from tests.qc_core.report.talking_environment import TALKING

_NO_RENDERER = "MuJoCo cannot render here"


def test_video_is_rendered_or_its_note_gives_the_reason(policy: Path, tmp_path: Path) -> None:
    film = film_policy(policy, [1], tmp_path / "film.mp4")
    if not renders():
        assert film.path is None and _NO_RENDERER in film.note
        return
    assert film.path is not None, film.note
    assert film.path.read_bytes()[4:8] == b"ftyp"
    assert film.note.startswith("The exported policy")


def test_failure_after_rendering_starts_gives_its_own_reason(policy: Path, tmp_path: Path) -> None:
    contract = json.loads((policy / "policy.json").read_text())
    broken = Path(shutil.copytree(policy, tmp_path / "broken"))
    contract["observation"]["names"].append("one too many")
    (broken / "policy.json").write_text(json.dumps(contract))
    write_checksums(broken)
    film = film_policy(broken, [1], tmp_path / "film.mp4")
    assert film.path is None
    another = "policy.onnx and its contract are of different policies"
    assert (another if renders() else _NO_RENDERER) in film.note


def renders() -> bool:
    """Return whether MuJoCo can render here, without using product code."""
    program = (
        "import mujoco; m = mujoco.MjModel.from_xml_string('<mujoco/>');"
        "r = mujoco.Renderer(m, 16, 16); r.update_scene(mujoco.MjData(m)); r.render()"
    )
    return any(
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend},
            capture_output=True,
        ).returncode
        == 0
        for backend in ("egl", "osmesa")
    )


def test_without_a_renderer_the_note_names_the_renderer(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "disable")
    film = film_policy(policy, [1], tmp_path / "film.mp4")
    assert film.path is None
    assert film.note.startswith("No video: MuJoCo cannot render here with disable")
    assert not (tmp_path / "film.mp4").exists()


def test_an_environment_that_prints_is_filmed_once_per_seed(config: Config, tmp_path: Path) -> None:
    config = replace(config, environment=TALKING)
    dataset = write_random_dataset(tmp_path / "dataset", describe(TALKING))
    pretrain(config, dataset, tmp_path / "checkpoint")
    export(tmp_path / "checkpoint", tmp_path / "policy")
    films = film_episodes(tmp_path / "policy", [3, 1], tmp_path)
    assert [film.path for film in films] == [tmp_path / "0.mp4", tmp_path / "1.mp4"]
    assert [film.note[-9:] for film in films] == ["(seed 3).", "(seed 1)."]
