"""A package that registers an environment, as a user's package does."""

from pathlib import Path

# Moves a point to a goal: three steps of 1 are enough. The observation has two parts.
_PROGRAM = '''
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

class Reach(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"]}
    dt = 0.1

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        part = Box(-9, 9, (2,), np.float64)
        self.observation_space = Dict({"position": part, "goal": part})
        self.action_space = Box(-1, 1, (2,), np.float32)

    def _observe(self):
        return {"position": self.position.copy(), "goal": self.goal.copy()}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.goal = np.zeros(2), self.np_random.uniform(1, 3, 2)
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.position = self.position + action
        solved = bool(np.abs(self.goal - self.position).max() < 0.5)
        return self._observe(), float(solved) - 1, solved, False, {"is_success": solved}

    def render(self):
        return np.full((64, 64, 3), int(self.position[0]) % 255, np.uint8)

gymnasium.register(id="Reach-v0", entry_point=Reach, max_episode_steps=8)

def act(observation, rng, step):
    """Goes to the goal with noise; too far in the first step."""
    direction = observation[:2] - observation[2:] + rng.normal(0, 0.1, 2)
    return direction if step == 0 else np.clip(direction, -1, 1)
'''


def write_package(folder: Path, name: str) -> None:
    """Write the package to a folder, which must be on the path."""
    folder.joinpath(f"{name}.py").write_text(_PROGRAM)
