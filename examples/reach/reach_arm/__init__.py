"""An arm with two joints in a plane; importing the package registers `ReachArm-v0`."""

import gymnasium

gymnasium.register(
    id="ReachArm-v0", entry_point="reach_arm.environment:ReachArm", max_episode_steps=60
)
