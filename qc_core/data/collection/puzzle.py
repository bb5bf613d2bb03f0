"""Chooses the next button to press; a button toggles its own light and the adjacent ones."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from qc_core.data.collection.targets import Info, Target, button_target


def next_target(info: Info, goal_B: np.ndarray, environment: Any) -> Target | None:
    """Return the nearest button that must be pressed, or None if the lights match. B buttons.

    The presses are computed from the current lights, so accidental presses are undone too.
    """
    shape = (environment._num_rows, environment._num_cols)
    presses = solve((info["button_states"] != goal_B).reshape(shape)).ravel()
    if not presses.any():
        return None
    tops_B3 = environment.data.site_xpos[environment._button_site_ids]
    distances = np.linalg.norm(tops_B3 - info["proprio/effector_pos"], axis=1)
    return button_target(int(np.argmin(np.where(presses, distances, np.inf))), info)


def solve(wrong_RC: np.ndarray) -> np.ndarray:
    """Find the fewest presses that toggle exactly the wrong lights. R rows, C columns.

    This is a linear system over GF(2), solved row by row: the presses of the first row determine
    those of each next row, which must correct the row above it.

    Args:
        wrong_RC: bool, the lights that must change.

    Returns:
        The buttons to press, bool [R, C].

    Raises:
        ValueError: there is no solution, which happens where the system is singular (4x4).
    """
    rows, columns = wrong_RC.shape
    # K possible presses of the first row, all solved at once.
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
        raise ValueError("no presses toggle exactly these lights")
    presses_KRC = np.stack(presses, axis=1)
    counts_K = presses_KRC.sum(axis=(1, 2))
    return presses_KRC[np.argmin(np.where(solves_K, counts_K, rows * columns + 1))]
