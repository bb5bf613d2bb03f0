"""Chooses the next target in the scene, whose two buttons lock the drawer and the window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qc_core.data.collection.targets import Info, Target, button_target, cube_target, slide_target

# Metres; the tasks ask for 0.04.
_TOLERANCE = 0.03
_DRAWER_OPEN, _DRAWER_CLOSED = -0.16, 0.0
# At smaller y, the handle of the open drawer is above the cube and blocks the gripper.
_BELOW_HANDLE = -0.03
_LOCKS = {"drawer": 0, "window": 1}


def next_target(info: Info, goal: Mapping[str, Any], environment: Any) -> Target | None:
    """Return the next target, or None if the goal is reached.

    The order is the cube, then drawer and window (each unlocked if needed), then the buttons.
    """
    cube, cube_goal = info["privileged/block_0_pos"], goal["block_xyzs"][0]
    goes_into_drawer = cube_goal[2] > 0.04
    if goes_into_drawer and not environment._is_in_drawer(cube):
        if cube[1] < _BELOW_HANDLE:
            table = np.array([*environment._object_sampling_bounds.mean(axis=0), 0.02])
            drawer, place = _DRAWER_CLOSED, table
        else:
            drawer, place = _DRAWER_OPEN, environment._drawer_center
        return _slide("drawer", drawer, environment, info) or cube_target(0, place)
    if not goes_into_drawer and np.linalg.norm(cube - cube_goal) > _TOLERANCE:
        return cube_target(0, cube_goal)
    for slide in _LOCKS:
        if target := _slide(slide, goal[f"{slide}_pos"], environment, info):
            return target
    wrong = np.flatnonzero(info["button_states"] != goal["button_states"])
    return button_target(int(wrong[0]), info) if len(wrong) else None


def cube_stays_reachable(qpos: np.ndarray) -> bool:
    """Return whether the cube stays on the table or in the drawer, as in OGBench's datasets.

    Otherwise it was pushed off, or the simulation became unstable.

    Args:
        qpos: the simulator's positions in an episode's states, [R, 25].
    """
    y, z = qpos[:, 15], qpos[:, 16]
    on_table = (y > -0.3) & (y < 0.29)
    in_drawer = (y <= -0.3) & (z >= 0.06) & (z <= 0.08)
    return bool((on_table | in_drawer).all())


def _slide(slide: str, position: float, environment: Any, info: Info) -> Target | None:
    """Unlock the drawer or window, then move it; None if it is in position."""
    if abs(info[f"privileged/{slide}_pos"][0] - position) <= _TOLERANCE:
        return None
    if info["button_states"][_LOCKS[slide]] == 0:
        return button_target(_LOCKS[slide], info)
    return slide_target(slide, position, environment, info)
