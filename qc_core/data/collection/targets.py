"""Builds the `privileged/target_*` entries that OGBench's scripted oracles read.

`info` is the dictionary that `step` and `reset` of OGBench's environments return in the data
collection mode.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Info = dict[str, Any]
Target = dict[str, Any]


def cube_target(cube: int, position: np.ndarray) -> Target:
    """Return the target to move a cube to a position, [3] in metres, with yaw 0."""
    return {
        "privileged/target_task": "cube",
        "privileged/target_block": cube,
        "privileged/target_block_pos": np.asarray(position),
        "privileged/target_block_yaw": np.zeros(1),
    }


def button_target(button: int, info: Info) -> Target:
    """Return the target to press a button, which toggles its state."""
    return {
        "privileged/target_task": "button",
        "privileged/target_button": button,
        "privileged/target_button_state": 1 - info[f"privileged/button_{button}_state"],
    }


def slide_target(slide: str, position: float, environment: Any, info: Info) -> Target:
    """Return the target to move the `drawer` or the `window` to a position of its slide, in metres.

    Args:
        environment: the unwrapped OGBench environment.
    """
    # The joint's axis in world coordinates.
    axis = environment.data.joint(f"{slide}_slide").xaxis
    displacement = position - info[f"privileged/{slide}_pos"][0]
    handle = info[f"privileged/{slide}_handle_pos"] + displacement * axis
    return {
        "privileged/target_task": slide,
        f"privileged/target_{slide}_pos": np.array([position]),
        f"privileged/target_{slide}_handle_pos": handle,
    }
