"""Kills commands at random moments, repeats them, and checks that nothing is lost or left behind.

Each attempt kills one command up to three times with SIGKILL or SIGTERM, the process alone or its
whole group, and then lets the same command finish. A forked process runs it, without imports.

python -m tests.faults.kills --attempts 100 --seed 7 --commands publish pretrain tune run
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qc_core.cli.main import main as qc
from qc_core.data.dataset.dataset import DatasetWriter, Episodes
from qc_core.envs.make import describe
from qc_core.files import sha256_of
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.policy_folder import MODEL
from qc_core.registry.registry import Registry
from qc_core.scratch import remove_leftovers
from qc_core.store.open import open_store
from qc_core.training.checkpoint import WEIGHTS, verify_checkpoint
from qc_core.tuning.trials import COMPLETE, read_history
from tests.qc_core.registry.policy_folders import seed_of, write_policy
from tests.quick_environment import QUICK

SURVIVED, LOST = "survived", "lost"
_MAX_KILLS = 3
# The caches that libraries share between processes are no leftovers.
_CACHES = ("torchinductor_",)
# A killed command's processes end within this time, and interrupted ones save within it.
_SECONDS_TO_END, _SECONDS_TO_RUN = 120.0, 600.0
# The part of a command's usual duration in which it is killed.
_KILLED_BEFORE = 0.8
_OPTIONS = (
    *("smoke", "--environment", QUICK, "--train.hidden-dims", "8", "8"),
    *("--train.batch-size", "16", "--train.offline-steps", "60", "--train.online-steps", "60"),
    *("--train.learning-starts", "10", "--tune.trials", "2", "--tune.episodes", "2"),
    *("--tune.workers", "1", "--evaluate.episodes", "2", "--evaluate.workers", "1"),
)


@dataclass
class Report:
    """What happened to the attempts.

    Attributes:
        kills: by command and signal.
        losses: one line each.
    """

    results: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in sorted(self.results.items()))


class Lost(Exception):
    """A check after the last repetition failed."""


@dataclass(frozen=True)
class Command:
    """A command that can be repeated.

    Attributes:
        run: does the work in a folder, in a process of its own; returns its exit code.
        check: raises Lost if the result in the folder is not complete and right.
    """

    run: Callable[[Path], int]
    check: Callable[[Path], None]


def _qc(*arguments: object) -> int:
    sys.argv = ["qc", *map(str, arguments)]
    return qc()


def _publish(folder: Path) -> int:
    registry = Registry(open_store())
    shutil.rmtree(folder / "policy", ignore_errors=True)
    version = registry.publish(write_policy(folder / "policy", 1), "cube", run_id="run")
    registry.set_alias("cube", "latest", version)
    return 0


def _check_published(folder: Path) -> None:
    registry = Registry(open_store())
    for number, found in enumerate(registry.versions("cube")):
        registry.pull(f"cube:{found.version}", folder / f"pulled-{number}")
        _require(seed_of(folder / f"pulled-{number}") == 1, f"{found.version} has other files")
    registry.pull("cube@latest", folder / "latest")
    _require((folder / "latest" / MODEL).exists(), "latest has no model")


def _commands(inputs: Path) -> dict[str, Command]:
    """Return the commands; their dataset and first checkpoint are in `inputs`."""
    dataset, offline = inputs / "dataset", inputs / "offline"

    def check_pretrained(folder: Path) -> None:
        verify_checkpoint(folder / "offline")
        same = sha256_of(folder / "offline" / WEIGHTS) == sha256_of(offline / WEIGHTS)
        _require(same, "the weights are not those of an undisturbed training")

    def check_tuned(folder: Path) -> None:
        verify_checkpoint(folder / "best")
        states = [trial.state for trial in read_history(folder / "best.json").trials]
        _require(states == [COMPLETE] * 2, f"the trials are {states}")

    def check_run(folder: Path) -> None:
        summary = json.loads((folder / "run" / "summary.json").read_bytes())
        name, version = summary["promotion"]["name"], summary["promotion"]["version"]
        registry = Registry(open_store())
        published = [found.version for found in registry.versions(name)]
        _require(published == [version], f"the versions are {published}")
        registry.pull(f"{name}:{version}", folder / "pulled")

    return {
        "publish": Command(_publish, _check_published),
        "pretrain": Command(
            lambda folder: _qc("pretrain", *_OPTIONS, dataset, "-o", folder / "offline"),
            check_pretrained,
        ),
        "tune": Command(
            lambda folder: _qc("tune", *_OPTIONS, dataset, offline, "-o", folder / "best"),
            check_tuned,
        ),
        "run": Command(
            lambda folder: _qc("run", *_OPTIONS, "--data", dataset, "-o", folder / "run"),
            check_run,
        ),
    }


def _write_dataset(folder: Path) -> None:
    rng, steps, spec = np.random.default_rng(0), 50, describe(QUICK)
    writer = DatasetWriter(folder, spec)
    writer.append(
        Episodes(
            observations=rng.normal(size=(steps + 1, spec.observation_size)),
            actions=rng.uniform(-1, 1, (steps, spec.action_size)),
            rewards=rng.normal(size=steps),
            masks=np.ones(steps),
            terminals=np.arange(steps) == steps - 1,
        )
    )
    writer.finish(DataSource(kind="test"))


def attack(commands: list[str], attempts: int, seed: int, folder: Path) -> Report:
    """Kill commands and repeat them.

    Args:
        commands: names of `_commands`, which take turns.
        folder: an empty folder for everything that they write.
    """
    rng, report = random.Random(seed), Report()
    inputs = folder / "inputs"
    _write_dataset(inputs / "dataset")
    known, durations = _commands(inputs), dict[str, float]()
    if {"pretrain", "tune"} & set(commands):
        durations["pretrain"] = _undisturbed(known["pretrain"], inputs)
    for number in range(attempts):
        name = commands[number % len(commands)]
        own = folder / f"{number}-{name}"
        if name not in durations:
            durations[name] = _undisturbed(known[name], own)
            shutil.rmtree(own)
        _surround(own)
        try:
            _attempt(name, known[name], own, durations[name], rng, report)
        except KeyboardInterrupt:
            # Report the attempts so far.
            break
        except Exception as error:
            report.results[LOST] += 1
            report.losses.append(f"{own.name}: {type(error).__name__}: {error}")
        else:
            report.results[SURVIVED] += 1
            shutil.rmtree(own)
    return report


def _undisturbed(command: Command, own: Path) -> float:
    """Run a command to its end and return its duration in seconds."""
    _surround(own)
    start = time.monotonic()
    code = _run(command.run, own, None)
    _require(code == 0, f"exit code {code} without any kill")
    return time.monotonic() - start


def _attempt(
    name: str, command: Command, own: Path, duration: float, rng: random.Random, report: Report
) -> None:
    for _ in range(rng.randint(1, _MAX_KILLS)):
        kill = _Kill(
            rng.uniform(0, _KILLED_BEFORE * duration),
            rng.choice([signal.SIGKILL, signal.SIGTERM]),
            rng.random() < 0.5,
        )
        code = _run(command.run, own, kill)
        if code == 0:
            break
        killed = code < 0 or code == 128 + signal.SIGTERM
        _require(killed, f"exit code {code} after {kill.number.name}")
        report.kills[f"{name} {kill.number.name}"] += 1
    code = _run(command.run, own, None)
    _require(code == 0, f"exit code {code} when it was repeated")
    command.check(own)
    _require_nothing_left(own)


@dataclass(frozen=True)
class _Kill:
    seconds: float
    number: signal.Signals
    whole_group: bool


def _surround(own: Path) -> None:
    """Give the next commands their own store, cache and temporary folder."""
    for variable, name in (("TMPDIR", "tmp"), ("XDG_CACHE_HOME", "cache"), ("QC_STORE", "store")):
        (own / name).mkdir(parents=True, exist_ok=True)
        os.environ[variable] = str(own / name)
    tempfile.tempdir = None


def _run(run: Callable[[Path], int], own: Path, kill: _Kill | None) -> int:
    """Run a command in a new session and return its exit code; a signal is negative."""
    child = os.fork()
    if not child:
        code = 1
        with contextlib.suppress(BaseException):
            os.setsid()
            with (own / "output.log").open("a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            os.chdir(own)
            code = run(own)
        os._exit(code)
    if kill is not None:
        time.sleep(kill.seconds)
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if kill.whole_group else os.kill)(child, kill.number)
    deadline = time.monotonic() + (_SECONDS_TO_RUN if kill is None else _SECONDS_TO_END)
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.005)
    deadline = time.monotonic() + _SECONDS_TO_END
    while running := _processes_of(child):
        _require(time.monotonic() < deadline, f"processes do not end: {running}")
        time.sleep(0.05)
    return os.waitstatus_to_exitcode(ended[1])


def _processes_of(session: int) -> list[str]:
    """Return the processes of a session that have not ended."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, fields = status.read_text().rpartition(")")
            state, _, _, number = fields.split()[:4]
            if int(number) == session and state != "Z":
                found.append(name)
    return found


def _require_nothing_left(own: Path) -> None:
    """Let the leftovers of killed processes grow old, and check that they are found."""
    old = time.time() - 3600
    for parent, folders, files in os.walk(own):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):
                os.utime(Path(parent, name), (old, old), follow_symlinks=False)
        remove_leftovers(Path(parent))
    left = [
        str(path.relative_to(own))
        for path in own.rglob("*")
        if (path.parent == own / "tmp" and not path.name.startswith(_CACHES))
        or ".qc-" in path.name
        or path.name.endswith((".partial", ".study"))
    ]
    _require(not left, f"left behind: {', '.join(left[:5])}")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Lost(otherwise)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", nargs="+", default=["publish", "pretrain", "tune", "run"])
    options = parser.parse_args()
    os.environ |= {"QC_THREADS": "1", "QC_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    folder = Path(tempfile.mkdtemp(prefix="qc-kills-"))
    report = attack(options.commands, options.attempts, options.seed, folder)
    for loss in report.losses:
        print(loss, file=sys.stderr)
    print(", ".join(f"{name} {count}" for name, count in sorted(report.kills.items())))
    print(report)
    if report.losses:
        print(f"the folders of lost attempts are in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return bool(report.losses)


if __name__ == "__main__":
    sys.exit(main())
