"""Imports what every environment process needs, in the server that they are forked from."""

import contextlib

from qc_core.envs.registry import register_own

# Without it, or with a wrong MUJOCO_GL, the process itself reports what is missing.
with contextlib.suppress(Exception):
    register_own()
