"""A short film of a policy, rendered without a screen.

Run as a program, `python -m qc_core.report.video`, since MuJoCo chooses its renderer when it
is imported and a broken one may take the process with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qc_core.files import staged_file

_BACKENDS = ("egl", "osmesa")
_WIDTH, _HEIGHT = 320, 240
# Software rendering is slow: show every third step, and hold the last one so that the end can be
# seen. A policy that fails need not be watched to the end.
_STEPS_PER_FRAME = 3
_MOST_FRAMES = 50
_HELD_FRAMES = 8
_TIMEOUT_SECONDS = 300
_RENDERS = "renders"


@dataclass(frozen=True, slots=True)
class Film:
    """A rendered episode, or why there is none.

    Attributes:
        path: the mp4 file, or None.
        note: what it shows, or what is missing, for a person.
    """

    path: Path | None
    note: str


def film_policy(
    folder: Path, seeds: list[int], output: Path, *, execution_horizon: int | None = None
) -> Film:
    """Render the first success of a policy folder over these seeds with whichever renderer works.

    `MUJOCO_GL`, if set, is the only one tried.

    Args:
        execution_horizon: actions of a chunk to play, None for what the policy's contract says.
    """
    chosen = os.environ.get("MUJOCO_GL")
    backends = (chosen,) if chosen else _BACKENDS
    with tempfile.TemporaryDirectory(prefix="qc-film-") as scratch:
        made = Path(scratch) / "film.mp4"
        for backend in backends:
            command = [sys.executable, "-m", "qc_core.report.video", str(folder), str(made)]
            try:
                done = subprocess.run(
                    [*command, json.dumps(execution_horizon), json.dumps(seeds)],
                    env={**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend},
                    capture_output=True,
                    text=True,
                    timeout=_TIMEOUT_SECONDS,
                )
            except subprocess.TimeoutExpired:
                return Film(None, f"No film: it took longer than {_TIMEOUT_SECONDS} s.")
            if done.returncode == 0:
                with staged_file(output) as staging:
                    shutil.copyfile(made, staging)
                return Film(output, done.stdout.strip().splitlines()[-1])
            if _RENDERS in done.stdout:
                return Film(None, f"No film: {done.stdout.strip().splitlines()[-1]}")
    return Film(
        None,
        f"No film: MuJoCo cannot render here with {' or '.join(backends)} "
        "(Debian: apt-get install libosmesa6).",
    )


def _main(folder: Path, output: Path, execution_horizon: int | None, seeds: list[int]) -> None:
    import imageio_ffmpeg
    import numpy as np

    from qc_core.envs.make import make_environment
    from qc_core.envs.play import play_episode
    from qc_core.errors import UsageError
    from qc_core.policy_format.policy_folder import read_contract
    from qc_core.runtime import ChunkPolicy

    name = read_contract(folder).environment
    try:
        environment = make_environment(name, width=_WIDTH, height=_HEIGHT, render_mode="rgb_array")
    except UsageError:
        # Not every environment lets its size be chosen.
        environment = make_environment(name, render_mode="rgb_array")
    # What fails up to here is the renderer's fault, behind it is not.
    environment.reset(seed=seeds[0])
    _leave_shadows_out(environment.unwrapped)
    environment.render()
    print(_RENDERS, flush=True)
    policy = ChunkPolicy.load(folder, execution_horizon=execution_horizon)
    outcomes = (play_episode(environment, policy, seed) for seed in seeds)
    shown = next((outcome for outcome in outcomes if outcome.success), None)
    seed = seeds[0] if shown is None else shown.seed

    frames: list[np.ndarray] = []
    step = 0

    def record() -> None:
        nonlocal step
        if step % _STEPS_PER_FRAME == 0 and len(frames) < _MOST_FRAMES:
            frames.append(np.asarray(environment.render()))
        step += 1

    outcome = play_episode(environment, policy, seed, on_frame=record)
    frames += [np.asarray(environment.render())] * _HELD_FRAMES
    interval = policy.contract.control_interval_seconds * _STEPS_PER_FRAME
    writer = imageio_ffmpeg.write_frames(
        str(output),
        (frames[0].shape[1], frames[0].shape[0]),
        fps=1 / interval,
        quality=7,
        macro_block_size=16,
    )
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    verb = "solves the task" if outcome.success else "does not solve the task"
    if not outcome.reports_success:
        verb = f"has a return of {outcome.episode_return:.1f}"
    print(f"The exported policy {verb} in {outcome.steps} steps, in real time (seed {seed}).")


def _leave_shadows_out(environment: object) -> None:
    """Without a GPU they take four fifths of the time."""
    for name in ("model", "_model"):
        model: Any = getattr(environment, name, None)
        if hasattr(model, "vis"):
            model.vis.quality.shadowsize = 0


if __name__ == "__main__":
    try:
        _main(Path(sys.argv[1]), Path(sys.argv[2]), *map(json.loads, sys.argv[3:]))
    except Exception as error:
        # The libraries' own last words at exit would hide it on stderr.
        print(f"{type(error).__name__}: {' '.join(str(error).split())}")
        sys.exit(1)
