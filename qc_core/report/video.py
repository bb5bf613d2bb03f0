"""Render a short video of a policy without a display.

Rendering runs in its own process (`python -m qc_core.report.video`): MuJoCo chooses its renderer
when it is imported, and a broken renderer may crash the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qc_core.files import staged_file
from qc_core.scratch import scratch_folder

_BACKENDS = ("egl", "osmesa")
_WIDTH, _HEIGHT = 320, 240
# Software rendering is slow, so render every third step. The last frame is repeated so that viewers
# see the end. Long failures are cut.
_STEPS_PER_FRAME = 3
_MAX_FRAMES = 50
_LAST_FRAME_REPEATS = 8
_TIMEOUT_SECONDS = 300
# The rendering process prints this line as soon as its renderer works.
_RENDERS = "renders"
# What the films show: environments may print to stdout, too.
_NOTES = "notes.json"


@dataclass(frozen=True, slots=True)
class Film:
    """The video of an episode, or the reason why there is none.

    Attributes:
        path: the mp4 file, or None.
        note: what the video shows, or why it is missing.
    """

    path: Path | None
    note: str


def film_policy(
    folder: Path, seeds: list[int], output: Path, *, execution_horizon: int | None = None
) -> Film:
    """Render the first successful episode of a policy over these seeds; without one, the first.

    Args:
        folder: the policy folder.
        output: the mp4 file to write.
        execution_horizon: actions of each chunk to execute; None uses the policy's contract.
    """
    with scratch_folder("film") as scratch:
        (film,) = _render(folder, seeds, scratch, execution_horizon, find_success=True)
        if film.path is None:
            return film
        with staged_file(output) as staging:
            shutil.copyfile(film.path, staging)
        return Film(output, film.note)


def film_episodes(folder: Path, seeds: list[int], output: Path) -> list[Film]:
    """Render the episode of each seed; if nothing can be rendered, one film has the reason.

    Args:
        folder: the policy folder.
        output: an existing folder for the mp4 files.
    """
    return _render(folder, seeds, output, None, find_success=False) if seeds else []


def _render(
    folder: Path,
    seeds: list[int],
    output: Path,
    execution_horizon: int | None,
    *,
    find_success: bool,
) -> list[Film]:
    """Render in another process with EGL or OSMesa, or only `MUJOCO_GL` if that is set."""
    chosen = os.environ.get("MUJOCO_GL")
    backends = (chosen,) if chosen else _BACKENDS
    for backend in backends:
        command = [sys.executable, "-m", "qc_core.report.video", str(folder), str(output)]
        try:
            done = subprocess.run(
                [*command, *map(json.dumps, (execution_horizon, seeds, find_success))],
                env={**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend},
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return [Film(None, f"No video: rendering took longer than {_TIMEOUT_SECONDS} s.")]
        lines = done.stdout.strip().splitlines()
        if done.returncode == 0:
            notes = json.loads((output / _NOTES).read_text())
            return [Film(output / f"{number}.mp4", note) for number, note in enumerate(notes)]
        if _RENDERS in done.stdout:
            return [Film(None, f"No video: {lines[-1]}")]
    return [
        Film(
            None,
            f"No video: MuJoCo cannot render here with {' or '.join(backends)} "
            "(Debian: apt-get install libosmesa6).",
        )
    ]


def _main(
    folder: Path,
    output: Path,
    execution_horizon: int | None,
    seeds: list[int],
    find_success: bool,
) -> None:
    from qc_core.envs.play import play_episode
    from qc_core.policy_format.policy_folder import read_contract
    from qc_core.runtime import ChunkPolicy

    name = read_contract(folder).environment
    environment = _make_rendering(name)
    # Failures before the line _RENDERS are the renderer's, later ones are not.
    environment.reset(seed=seeds[0])
    _disable_shadows(environment.unwrapped)
    environment.render()
    print(_RENDERS, flush=True)
    policy = ChunkPolicy.load(folder, execution_horizon=execution_horizon)
    if find_success:
        results = (play_episode(environment, policy, seed) for seed in seeds)
        seeds = [next((result.seed for result in results if result.success), seeds[0])]
    notes = [
        _film(environment, policy, seed, output / f"{number}.mp4")
        for number, seed in enumerate(seeds)
    ]
    (output / _NOTES).write_text(json.dumps(notes))


def _film(environment: Any, policy: Any, seed: int, output: Path) -> str:
    """Play and render one episode; return what the video shows."""
    import imageio_ffmpeg
    import numpy as np

    from qc_core.envs.play import play_episode

    frames: list[np.ndarray] = []
    step = 0

    def record() -> None:
        nonlocal step
        if step % _STEPS_PER_FRAME == 0 and len(frames) < _MAX_FRAMES:
            frames.append(np.asarray(environment.render()))
        step += 1

    result = play_episode(environment, policy, seed, on_frame=record)
    frames += [np.asarray(environment.render())] * _LAST_FRAME_REPEATS
    interval = policy.contract.control_interval_seconds * _STEPS_PER_FRAME
    writer = imageio_ffmpeg.write_frames(
        str(output),
        (frames[0].shape[1], frames[0].shape[0]),
        fps=1 / interval,  # pyright: ignore[reportArgumentType] any rate is accepted
        quality=7,
        macro_block_size=16,
    )
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    verb = "solves the task" if result.success else "does not solve the task"
    if not result.reports_success:
        verb = f"has a return of {result.episode_return:.1f}"
    return f"The exported policy {verb} in {result.steps} steps, in real time (seed {seed})."


def _make_rendering(name: str) -> Any:
    """Make an environment that renders images (UsageError: it offers none)."""
    from qc_core.envs.check import RENDER_MODE, renders
    from qc_core.envs.make import make_environment
    from qc_core.errors import UsageError

    # Some environments have a fixed image size, and some have no render mode.
    for options in ({"width": _WIDTH, "height": _HEIGHT}, {}):
        with contextlib.suppress(UsageError):
            environment = make_environment(name, render_mode=RENDER_MODE, **options)
            if renders(environment):
                return environment
    environment = make_environment(name)
    if not renders(environment):
        # Not the renderer's failure: no other renderer can help.
        print(_RENDERS)
    raise UsageError(f"{name} does not render {RENDER_MODE!r}")


def _disable_shadows(environment: object) -> None:
    """Turn off shadows, which take 80% of the time of software rendering."""
    for name in ("model", "_model"):
        model: Any = getattr(environment, name, None)
        if hasattr(model, "vis"):
            model.vis.quality.shadowsize = 0


if __name__ == "__main__":
    try:
        _main(Path(sys.argv[1]), Path(sys.argv[2]), *map(json.loads, sys.argv[3:]))
    except Exception as error:
        # Print to stdout: messages of libraries at exit would hide the error on stderr.
        print(f"{type(error).__name__}: {' '.join(str(error).split())}")
        sys.exit(1)
