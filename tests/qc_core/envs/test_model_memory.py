"""Memory that compiling a MuJoCo model leaves behind is freed."""

from pathlib import Path

from qc_core.envs.model_memory import free_asset_cache, free_model_source
from qc_core.envs.mujoco_library import mujoco

_TEXTURE_BYTES = 3 * 4096 * 4096
_MODEL = """<mujoco><asset>
<texture name="large" type="2d" builtin="flat" width="4096" height="4096"/>
</asset></mujoco>"""


def _own_memory() -> int:
    """Return the bytes of this process that no file backs."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def test_source_of_a_model_is_freed_and_the_model_remains() -> None:
    free_model_source()
    before = _own_memory()
    model = mujoco.MjModel.from_xml_string(_MODEL)
    compiled = _own_memory()
    free_model_source()
    free_asset_cache()
    assert model.ntexdata == _TEXTURE_BYTES
    assert compiled - before > 1.8 * _TEXTURE_BYTES
    assert _own_memory() - before < 1.2 * _TEXTURE_BYTES
