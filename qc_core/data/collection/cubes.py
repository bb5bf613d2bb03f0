"""The next cube to move on the way to a goal: from below to above, and out of the way first."""

from __future__ import annotations

import numpy as np

from qc_core.data.collection.targets import Info, Target, cube_target

_SIZE = 0.04
# Half of what the tasks ask for: what is stacked on a cube must find its place too.
_TOLERANCE = 0.02
# Between two cubes' centres, so that the gripper finds room; for a place of free choice, more.
_CLEARANCE = 0.06
_WIDE_CLEARANCE = 0.1
_CANDIDATES = 64


def next_target(
    info: Info, goals_C3: np.ndarray, table: np.ndarray, rng: np.random.Generator
) -> Target | None:
    """The next move, None when all cubes are in place. C cubes, positions in metres.

    Where every misplaced cube waits for another, one that is in the way goes somewhere free.

    Args:
        table: lowest and highest x and y of such a place, [2, 2].
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
    return cube_target(obstacle, _free_place(np.vstack([cubes_C3, goals_C3]), table, rng))


def _distances(positions_P3: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Seen from above, [P]."""
    return np.linalg.norm(positions_P3[:, :2] - position[:2], axis=1)


def _free_place(taken_P3: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A place on the table, [3], far from all that are taken: the first good one, or the best."""
    places = rng.uniform(table[0], table[1], (_CANDIDATES, 2))
    clearance = np.linalg.norm(places[:, None] - taken_P3[:, :2], axis=2).min(axis=1)
    best = np.argmax(np.minimum(clearance, _WIDE_CLEARANCE))
    return np.array([*places[best], _SIZE / 2])
