"""The next button to press: each turns over its own light and those beside it."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from qc_core.data.collection.targets import Info, Target, button_target


def next_target(info: Info, goal_B: np.ndarray, environment: Any) -> Target | None:
    """The nearest button that still has to be pressed, None when the lights are right. B buttons.

    Pressing a button that a slip has pressed already is undone likewise: the presses follow
    from the lights as they are.
    """
    shape = (environment._num_rows, environment._num_cols)
    presses = solve((info["button_states"] != goal_B).reshape(shape)).ravel()
    if not presses.any():
        return None
    tops_B3 = environment.data.site_xpos[environment._button_site_ids]
    distances = np.linalg.norm(tops_B3 - info["proprio/effector_pos"], axis=1)
    return button_target(int(np.argmin(np.where(presses, distances, np.inf))), info)


def solve(wrong_RC: np.ndarray) -> np.ndarray:
    """The fewest presses that turn over exactly the wrong lights. R rows, C columns.

    A linear system over GF(2), solved row by row: once the presses of the first row are
    chosen, those of each next row must put right the row above it.

    Args:
        wrong_RC: bool, which lights have to change.

    Returns:
        Which buttons to press, bool [R, C].

    Raises:
        ValueError: no presses do it, which happens where the system is singular (4x4).
    """
    rows, columns = wrong_RC.shape
    # K ways to press the first row, all followed through at once.
    above_KC = np.zeros((2**columns, columns), bool)
    row_KC = np.array(list(product((False, True), repeat=columns)))
    presses = []
    for wrong_C in wrong_RC:
        presses.append(row_KC)
        beside_KC = np.pad(row_KC, ((0, 0), (1, 1)))
        left_wrong_KC = wrong_C ^ above_KC ^ row_KC ^ beside_KC[:, :-2] ^ beside_KC[:, 2:]
        above_KC, row_KC = row_KC, left_wrong_KC
    solves_K = ~row_KC.any(axis=1)
    if not solves_K.any():
        raise ValueError("no presses turn over exactly these lights")
    presses_KRC = np.stack(presses, axis=1)
    counts_K = presses_KRC.sum(axis=(1, 2))
    return presses_KRC[np.argmin(np.where(solves_K, counts_K, rows * columns + 1))]
