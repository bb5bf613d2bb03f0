"""The documented programs run as they stand."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qc_core.runtime import ChunkPolicy

ROOT = Path(__file__).parents[1]
NODE_MODULES = ROOT / "node_modules"


def snippet(page: str, language: str) -> str:
    """The first program of a page in a language."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)[0]


class Robot:
    """Three control steps per episode; keeps what it was told to do."""

    def __init__(self) -> None:
        self.actions: list[np.ndarray] = []

    @property
    def done(self) -> bool:
        return len(self.actions) % 3 == 0 and self.begun

    def reset(self) -> np.ndarray:
        self.begun = False
        return np.zeros(28)

    def step(self, action: np.ndarray) -> np.ndarray:
        self.begun = True
        self.actions.append(action)
        return np.ones(28)


@pytest.fixture
def here(policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with `my-policy`."""
    shutil.copytree(policy, tmp_path / "my-policy")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_program_moves_a_robot(here: Path) -> None:
    program, robot = snippet("robot/quickstart.md", "python"), Robot()
    assert len(program.splitlines()) <= 10
    exec(program, {"robot": robot})
    same = ChunkPolicy.load("my-policy")
    expected: list[np.ndarray] = []
    for episode in range(3):
        same.reset(seed=episode)
        expected += [same.act(np.zeros(28)) for _ in range(3)]
    np.testing.assert_array_equal(robot.actions, expected)


@pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed")
@pytest.mark.skipif(
    not (NODE_MODULES / "onnxruntime-node").is_dir(),
    reason="onnxruntime-node is not installed: make javascript",
)
def test_the_javascript_program_computes_the_golden_cases(here: Path) -> None:
    program = snippet("robot/serving.md", "js")
    assert len(program.splitlines()) <= 15
    (here / "node_modules").symlink_to(NODE_MODULES)
    (here / "policy.mjs").write_text(program)
    (here / "check.mjs").write_text(
        'import { readFileSync } from "node:fs";\n'
        'import { chunk } from "./policy.mjs";\n'
        'const cases = JSON.parse(readFileSync("cases.json"));\n'
        "const chunks = [];\n"
        "for (const [observation, noise] of cases)\n"
        "  chunks.push(Array.from(await chunk(observation, noise)));\n"
        "const drawn = [];\n"
        "for (let i = 0; i < 2; i++) drawn.push(Array.from(await chunk(cases[0][0])));\n"
        "console.log(JSON.stringify({ chunks, drawn }));\n"
    )
    with np.load("my-policy/golden.npz") as golden:
        cases: dict[str, np.ndarray] = dict(golden)
    pairs = zip(cases["observation"].tolist(), cases["noise"].tolist(), strict=True)
    (here / "cases.json").write_text(json.dumps(list(pairs)))
    result = subprocess.run(["node", "check.mjs"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    printed: dict[str, Any] = json.loads(result.stdout)
    expected = cases["action_chunk"].reshape(len(cases["noise"]), -1)
    np.testing.assert_allclose(printed["chunks"], expected, atol=1e-5)
    first, second = printed["drawn"]
    assert len(first) == expected.shape[1]
    assert first != second
