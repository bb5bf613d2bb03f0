"""Chooses the next cube to move: stacks from below, and clears obstacles first."""

from __future__ import annotations

import numpy as np

from qc_core.data.collection.targets import Info, Target, cube_target

_SIZE = 0.04
# Half the tolerance of the tasks, so that cubes stacked on top also reach their goals.
_TOLERANCE = 0.02
# Minimum distance between the centres of two cubes, which leaves room for the gripper; free
# positions keep a larger one.
_CLEARANCE = 0.06
_WIDE_CLEARANCE = 0.1
_CANDIDATES = 64


def next_target(
    info: Info, goals_C3: np.ndarray, table: np.ndarray, rng: np.random.Generator
) -> Target | None:
    """Return the next move, or None if all cubes are at their goals. C cubes, in metres.

    If each misplaced cube is blocked by another, an obstacle moves to a free position.

    Args:
        table: lowest and highest x and y of a free position, [2, 2].
    """
    cubes_C3 = np.array([info[f"privileged/block_{i}_pos"] for i in range(len(goals_C3))])
    misplaced_C = np.linalg.norm(cubes_C3 - goals_C3, axis=1) > _TOLERANCE
    obstacle = None
    for cube, goal in enumerate(goals_C3):
        below_C = (_distances(goals_C3, goal) < _SIZE) & (goals_C3[:, 2] < goal[2])
        if not misplaced_C[cube] or (misplaced_C & below_C).any():
            continue
        on_top_C = (_distances(cubes_C3, cubes_C3[cube]) < _SIZE) & (
            cubes_C3[:, 2] > cubes_C3[cube, 2] + _SIZE / 2
        )
        at_goal_C = (_distances(cubes_C3, goal) < _CLEARANCE) & (
            cubes_C3[:, 2] > goal[2] - _SIZE / 2
        )
        in_the_way_C = on_top_C | at_goal_C
        in_the_way_C[cube] = False
        if not in_the_way_C.any():
            return cube_target(cube, goal)
        if obstacle is None:
            obstacle = int(np.argmax(np.where(in_the_way_C, cubes_C3[:, 2], -np.inf)))
    if obstacle is None:
        return None
    return cube_target(obstacle, _free_position(np.vstack([cubes_C3, goals_C3]), table, rng))


def _distances(positions_P3: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Return horizontal distances, [P]."""
    return np.linalg.norm(positions_P3[:, :2] - position[:2], axis=1)


def _free_position(taken_P3: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a position on the table, [3]: the first with enough clearance, or the clearest."""
    candidates = rng.uniform(table[0], table[1], (_CANDIDATES, 2))
    clearance = np.linalg.norm(candidates[:, None] - taken_P3[:, :2], axis=2).min(axis=1)
    best = np.argmax(np.minimum(clearance, _WIDE_CLEARANCE))
    return np.array([*candidates[best], _SIZE / 2])
