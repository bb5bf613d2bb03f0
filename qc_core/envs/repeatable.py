"""Makes seeded resets of OGBench's manipulation environments reproducible."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from qc_core.envs.mujoco_library import mujoco


class RepeatableReset(gymnasium.Wrapper):
    """Gives the same episode for the same seed, bit for bit.

    OGBench settles its goal scene with two actions from an unseeded generator. It resets positions
    and velocities afterwards, but not the solver's warm start, the last controls and the contact
    forces, and the contact forces are part of the observation. This wrapper resets those too.
    """

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(**kwargs)
        inner: Any = self.unwrapped
        model, data = inner.model, inner.data
        data.ctrl[:] = 0.0
        data.qacc_warmstart[:] = 0.0
        mujoco.mj_forward(model, data)
        mujoco.mj_rnePostConstraint(model, data)
        inner.pre_step()
        return inner.compute_observation(), inner.get_reset_info()
