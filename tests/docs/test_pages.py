"""The documented commands and programs run, and print what the pages show."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qc_core.runtime import ChunkPolicy
from tests.docs.pages import OTHER_NAMES_OF_BASH, PAGES, ROOT, blocks_of, run_page
from tests.pipeline.kfp_server import serve

# Its commands train the policy that the commands of other pages use.
FIRST = Path("docs/research/quickstart.md")
RESULTS_OF_FIRST = ("data", "offline", "online", "policy", "evaluation.json")
NODE_MODULES = ROOT / "node_modules"


class Robot:
    """Three control steps per episode; remembers the actions."""

    def __init__(self) -> None:
        self.actions: list[np.ndarray] = []

    @property
    def done(self) -> bool:
        return len(self.actions) % 3 == 0 and self._has_moved

    def reset(self) -> np.ndarray:
        self._has_moved = False
        return np.zeros(28)

    def step(self, action: np.ndarray) -> np.ndarray:
        self._has_moved = True
        self.actions.append(action)
        return np.ones(28)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the commands of the first page have run."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("QC_", "AWS_", "KFP_")) and name != "QC_DEVICE":
                patch.delenv(name)
        patch.setenv("QC_THREADS", "1")
        patch.chdir(folder)
        run_page(FIRST, {})
    shutil.copytree(folder / "policy", folder / "my-policy")
    return folder


@pytest.fixture
def here(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with the results of the first page, a store of its own and a KFP server."""
    shutil.copytree(first / "runs", tmp_path / "runs")
    for name in RESULTS_OF_FIRST:
        (tmp_path / name).symlink_to(first / name)
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    with serve() as kfp:
        os.environ.pop("QC_STORE")
        os.environ.update(HOME=str(tmp_path), KFP_ENDPOINT=kfp.url)
        yield tmp_path
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language not in OTHER_NAMES_OF_BASH, f"{block.place} needs a language"
        if block.marker.startswith("run by "):
            assert (ROOT / block.marker.removeprefix("run by ")).is_file(), block.place


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page != FIRST and any(b.runs for b in blocks_of(page))],
    ids=str,
)
def test_commands_and_programs_run(page: Path, first: Path, here: Path) -> None:
    if "-o my-policy" not in (ROOT / page).read_text():
        (here / "my-policy").symlink_to(first / "my-policy")
    robot = Robot()
    run_page(page, {"robot": robot})


def test_the_control_loop_executes_the_actions_of_the_policy(first: Path, here: Path) -> None:
    (here / "my-policy").symlink_to(first / "my-policy")
    program = program_of("docs/robot/quickstart.md", "python")
    assert len(program.splitlines()) <= 10
    robot = Robot()
    exec(program, {"robot": robot})
    same = ChunkPolicy.load("my-policy")
    expected: list[np.ndarray] = []
    for episode in range(3):
        same.reset(seed=episode)
        expected += [same.act(np.zeros(28)) for _ in range(3)]
    np.testing.assert_array_equal(robot.actions, expected)


def test_the_methods_page_names_functions_that_exist() -> None:
    text = (ROOT / "docs/research/methods.md").read_text()
    rows = re.findall(r"^\|.*\| (\[.*?) \| (`.*`) \|$", text, re.MULTILINE)
    assert len(rows) > 20
    for files, functions in rows:
        code = "".join(
            (ROOT / path).read_text() for path in re.findall(r"\(\.\./\.\./(\S+?\.py)\)", files)
        )
        for name in re.findall(r"`([\w.]+)`", functions):
            for part in name.split("."):
                assert re.search(rf"^ *(def|class) {part}\b", code, re.MULTILINE), name


@pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed")
@pytest.mark.skipif(
    not (NODE_MODULES / "onnxruntime-node").is_dir(),
    reason="onnxruntime-node is not installed: make javascript",
)
def test_the_javascript_program_computes_the_golden_cases(first: Path, here: Path) -> None:
    (here / "my-policy").symlink_to(first / "my-policy")
    program = program_of("docs/robot/serving.md", "js")
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
    first_drawn, second_drawn = printed["drawn"]
    assert len(first_drawn) == expected.shape[1]
    assert first_drawn != second_drawn


def program_of(page: str, language: str) -> str:
    """Return the first program of a page in a language."""
    return next(b.text for b in blocks_of(Path(page)) if b.language == language)
