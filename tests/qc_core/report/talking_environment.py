"""The quick environment, with images, which prints when it is reset."""

from typing import Any

import gymnasium
import numpy as np

from tests.quick_environment import Quick

TALKING = f"{__name__}:Talking-v0"


class Talking(Quick):
    """It renders without MuJoCo."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode = render_mode
        self.metadata = {"render_modes": ["rgb_array"]}

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        print("a new episode")
        return super().reset(**options)

    def render(self) -> Any:
        return np.zeros((64, 64, 3), np.uint8)


gymnasium.register("Talking-v0", f"{__name__}:Talking", max_episode_steps=10)
