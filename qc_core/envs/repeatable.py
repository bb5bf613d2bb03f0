"""Make a seeded reset of OGBench's manipulation environments mean what it says."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from qc_core.errors import UsageError

try:
    import mujoco
except RuntimeError as error:
    # It looks at the variable while it is imported.
    raise UsageError(
        f"MUJOCO_GL must be egl, glfw, osmesa or disable, or not set: {error}"
    ) from None

# mujoco's functions come from a compiled module that no type checker can read.
_mujoco: Any = mujoco


class RepeatableReset(gymnasium.Wrapper):
    """The same seed gives the same episode, bit for bit.

    OGBench settles its goal scene with two actions from a generator that no seed reaches.
    Positions and velocities are set anew afterwards, but the solver's warm start, the last
    controls and the contact forces stay, and the last of these is part of the observation.
    """

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(**kwargs)
        inner: Any = self.unwrapped
        model, data = inner.model, inner.data
        data.ctrl[:] = 0.0
        data.qacc_warmstart[:] = 0.0
        _mujoco.mj_forward(model, data)
        _mujoco.mj_rnePostConstraint(model, data)
        inner.pre_step()
        return inner.compute_observation(), inner.get_reset_info()
