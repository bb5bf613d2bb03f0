"""What each room must not import, shown by blocking it in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

BLOCKED_IMPORT = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
{code}
"""


def run_blocked(blocked: set[str], code: str) -> None:
    program = BLOCKED_IMPORT.format(blocked=blocked, code=code)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_block_works() -> None:
    program = BLOCKED_IMPORT.format(blocked={"numpy"}, code="import numpy")
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "blocked: numpy" in result.stderr


def test_the_runtime_needs_no_training_packages(policy: Path) -> None:
    blocked = {"torch", "gymnasium", "optuna", "kfp", "ogbench", "mujoco", "tyro", "tqdm", "onnx"}
    blocked |= {"scipy", "yaml", "jinja2", "matplotlib", "safetensors", "kubernetes"}
    run_blocked(
        blocked,
        "import numpy; from qc_core.runtime import ChunkPolicy; "
        f"print(ChunkPolicy.load({str(policy)!r}).act(numpy.zeros(28)))",
    )


def test_importing_the_runtime_brings_numpy_and_nothing_slower() -> None:
    """A robot's program starts at once: onnxruntime and the store client come when needed."""
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


def test_pulling_needs_no_training_packages(policy: Path, tmp_path: Path) -> None:
    blocked = {"torch", "gymnasium", "optuna", "kfp", "ogbench", "mujoco", "tyro", "tqdm", "onnx"}
    run_blocked(
        blocked,
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


def test_the_core_imports_no_kfp() -> None:
    root = Path(__file__).parents[1]
    modules = [
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((root / "qc_core").rglob("*.py"))
    ]
    assert len(modules) > 40
    run_blocked(
        {"kfp", "kubernetes", "pipeline", "components"},
        "import importlib\n" + "\n".join(f"importlib.import_module({m!r})" for m in modules),
    )
