"""Packages import only packages below them, and need only the libraries of their purpose."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The packages and single modules of `qc_core`, from the bottom up: each imports only those before
# it in this list, except from its own subpackages.
ORDER: list[str] = [
    *("errors", "cores", "seeds", "statistics", "significance", "readable", "timestamps", "names"),
    *("scratch", "files", "provenance", "energy", "events", "log", "interruption", "progress"),
    *("processes", "worker_pool", "documents"),
    *("config", "policy_format", "store", "registry", "results", "runtime", "envs"),
    *("data.dataset", "data.formats", "data.replay", "data.collection", "data.uploads", "data"),
    *("networks", "agents", "tracking", "training", "tuning", "evaluation", "export"),
    "publish",
    *("retraining", "notify", "report", "runs", "sweeps", "cli"),
]
# Each top-level package imports only those before it.
TOP_LEVEL = ["qc_core", "components", "pipeline"]
# The only module of `qc_core` that names modules of `pipeline`: as text, for optional commands.
COMMAND_TABLE = "qc_core.cli.commands"

TRAINING_LIBRARIES = {
    *("torch", "gymnasium", "optuna", "ogbench", "mujoco", "tqdm", "onnx", "scipy", "jinja2"),
    *("matplotlib", "safetensors", "h5py", "pyarrow", "minari"),
}


def modules() -> dict[str, Path]:
    """Every module of the product, by name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in TOP_LEVEL
        for path in sorted((ROOT / package).rglob("*.py"))
    }


MODULES = modules()


def imports(module: str) -> Iterator[str]:
    """Modules of the product that a module imports anywhere in its code."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            assert node.module is not None
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in submodules]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.partition(".")[0] in TOP_LEVEL:
                assert name in MODULES, f"{module} imports {name}, which does not exist"
                yield name


def package(module: str) -> str:
    """The entry of `ORDER` that a module of `qc_core` belongs to."""
    parts = module.split(".")[1:]
    for name in (".".join(parts[:2]), ".".join(parts[:1])):
        if name in ORDER:
            return name
    raise AssertionError(f"{module} belongs to no package: add its package to ORDER")


def test_packages_import_only_packages_before_them() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if module.startswith("qc_core.")
        for name in imports(module)
        if name.startswith("qc_core.") and ORDER.index(package(name)) > ORDER.index(package(module))
    ]
    assert not wrong, "\n".join(wrong)


def test_top_level_packages_import_only_packages_before_them() -> None:
    def place(module: str) -> int:
        return TOP_LEVEL.index(module.partition(".")[0])

    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        for name in imports(module)
        if place(name) > place(module)
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_have_no_import_cycles() -> None:
    graph = {module: set(imports(module)) - {module} for module in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_the_architecture_page_draws_what_packages_import() -> None:
    def node(module: str) -> str:
        name = package(module)
        is_module = (ROOT / "qc_core" / f"{name}.py").exists()
        return "modules" if is_module else name.replace(".", "_")

    graph: dict[str, set[str]] = {}
    for module in MODULES:
        if module.startswith("qc_core."):
            used = {node(name) for name in imports(module) if name.startswith("qc_core.")}
            graph.setdefault(node(module), set()).update(used - {node(module)})
    reached: dict[str, set[str]] = {}
    for name in TopologicalSorter(graph).static_order():
        reached[name] = graph[name].union(*(reached[used] for used in graph[name]))
    needed = {
        f"{name} --> {used}"
        for name in graph
        for used in graph[name]
        if not any(used in reached[other] for other in graph[name])
    }
    page = (ROOT / "docs/development/architecture.md").read_text()
    drawn = page.partition("graph TD\n")[2].partition("```")[0]
    assert {line.strip() for line in drawn.splitlines()} == needed


def test_only_the_table_of_commands_names_other_packages_as_text() -> None:
    naming = {
        module
        for module in MODULES
        if module.startswith("qc_core")
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and " " not in node.value
        and node.value.startswith(("pipeline.", "components."))
    }
    # The prefixes in `main` tell the product's own modules from missing libraries.
    assert naming - {"qc_core.cli.main"} == {COMMAND_TABLE}


def test_only_the_command_line_uses_a_command_line_library() -> None:
    using = {
        module
        for module in MODULES
        if ".cli" not in module
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
        if name in ("argparse", "tyro", "click", "typer")
    }
    assert not using


BLOCKED_IMPORT = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if {{name, name.partition(".")[0]}} & {blocked!r}:
            raise ModuleNotFoundError("blocked: " + name, name=name)
sys.meta_path.insert(0, Block())
{code}
"""


def run_blocked(blocked: set[str], code: str) -> str:
    """Run a program without some packages or modules; returns its output."""
    program = BLOCKED_IMPORT.format(blocked=blocked, code=code)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_block_works() -> None:
    program = BLOCKED_IMPORT.format(blocked={"numpy"}, code="import numpy")
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "blocked: numpy" in result.stderr


def test_the_runtime_needs_no_training_libraries(policy: Path) -> None:
    run_blocked(
        {*TRAINING_LIBRARIES, "kfp", "yaml", "kubernetes"},
        "import numpy; from qc_core.runtime import ChunkPolicy; "
        f"print(ChunkPolicy.load({str(policy)!r}).act(numpy.zeros(28)))",
    )


def test_importing_the_runtime_imports_only_numpy() -> None:
    """A robot's program starts fast: onnxruntime and the store client are imported when needed."""
    program = (
        "import sys; before = set(sys.modules); import qc_core.runtime; "
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(*sorted(names - set(sys.stdlib_module_names)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    # msgspec imports typing_extensions if it is installed.
    names = set(result.stdout.split()) - {"typing_extensions"}
    assert names == {"msgspec", "numpy", "qc_core"}


def test_pulling_needs_no_training_libraries(policy: Path, tmp_path: Path) -> None:
    run_blocked(
        {*TRAINING_LIBRARIES, "kfp", "pipeline", "components"},
        "from pathlib import Path; from qc_core.store.open import open_store; "
        "from qc_core.registry.registry import Registry; from qc_core.cli.main import main; "
        f"r = Registry(open_store()); v = r.publish(Path({str(policy)!r}), 'p'); "
        "r.set_alias('p', 'latest', v); "
        f"assert main(['pull', 'p', '-o', {str(tmp_path / 'pulled')!r}, '--check']) == 0; "
        f"words = ['pull', 'p', '-o', {str(tmp_path / 'models')!r}, '--layout', 'triton']; "
        "assert main(words) == 0; "
        "from qc_core.runtime import ChunkPolicy; "
        "import os; os.environ['XDG_CACHE_HOME'] = "
        f"{str(tmp_path / 'cache')!r}; ChunkPolicy.load('p'); "
        "assert main(['policies']) == 0",
    )


def test_compiling_and_publishing_need_no_training_libraries(tmp_path: Path) -> None:
    """The extra `pipeline` is enough for a machine that only submits and manages policies."""
    run_blocked(
        {*TRAINING_LIBRARIES, "onnxruntime"},
        "from qc_core.cli.main import main; import pipeline.package, pipeline.schedule, "
        "pipeline.submit, pipeline.follow; "
        f"assert main(['compile', 'smoke', '-o', {str(tmp_path / 'p.yaml')!r}]) == 0; "
        "assert main(['policies']) == main(['recipes']) == main(['info']) == 0",
    )


@pytest.mark.parametrize(
    ("name", "extras"),
    [("run", "train,pipeline"), ("submit", "pipeline"), ("cluster", "pipeline")],
)
def test_without_the_pipeline_its_commands_name_the_smallest_installation(
    name: str, extras: str
) -> None:
    shown = run_blocked(
        {"pipeline", "components"},
        "from qc_core.cli.main import main; import contextlib; "
        "assert main(['--help']) == 0; contextlib.redirect_stderr(sys.stdout).__enter__(); "
        f"assert main([{name!r}, 'smoke']) == 2",
    )
    assert f"\n  {name} " in shown
    assert shown.splitlines()[-1] == (
        "qc: this command needs pipeline, which is not installed; "
        f"run: pip install 'q-chunking[{extras}]'"
    )


def test_info_works_without_the_pipeline() -> None:
    shown = run_blocked(
        {"pipeline", "components", "torch"},
        "import os; os.environ['KFP_ENDPOINT'] = 'http://localhost:1'; "
        "from qc_core.cli.main import main; assert main(['info']) == 0",
    )
    assert "pipeline is not installed" in shown


def test_the_help_imports_only_the_standard_library() -> None:
    program = (
        "import sys; before = set(sys.modules); from qc_core.cli.main import main; "
        "main(['--help']); names = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(*sorted(names - set(sys.stdlib_module_names)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout.splitlines()[-1] == "qc_core"


def test_only_training_and_export_import_torch() -> None:
    modules = (
        *("data.ingest", "evaluation.evaluate", "evaluation.exploration", "notify.completion"),
        *("publish.promote", "report.html", "runs.record", "tuning.select"),
    )
    run_blocked({"torch"}, "import " + ", ".join(f"qc_core.{name}" for name in modules))


def test_training_does_not_import_the_compiler_of_torch() -> None:
    program = """
import torch
from qc_core.agents.make import make_agent
from qc_core.config.settings import TrainConfig
agent = make_agent(2, 1, TrainConfig(method="rlpd"))
for optimizer in agent.optimizers.values():
    for parameter in agent.learned_parameters():
        parameter.grad = torch.ones_like(parameter)
    with torch.no_grad():
        optimizer.step()
agent.load_optimizer_state(agent.optimizer_state())
assert agent.optimizer_state()
"""
    run_blocked({"torch._dynamo"}, program)


def test_the_core_imports_no_kfp() -> None:
    core = [module for module in MODULES if module.startswith("qc_core")]
    assert len(core) > 40
    run_blocked(
        {"kfp", "kubernetes", "pipeline", "components"},
        "import importlib\n" + "\n".join(f"importlib.import_module({m!r})" for m in core),
    )
