"""Imports MuJoCo; a wrong MUJOCO_GL is a UsageError."""

from __future__ import annotations

from typing import Any

from qc_core.errors import UsageError

try:
    import mujoco as imported
except RuntimeError as error:
    # mujoco reads the variable at import.
    raise UsageError(
        f"MUJOCO_GL must be egl, glfw, osmesa or disable, or not set: {error}"
    ) from None

# mujoco's functions come from a compiled module that type checkers cannot read.
mujoco: Any = imported
