"""A small number of the kills that `make faults` repeats many times."""

import subprocess
import sys


def test_nothing_is_lost_or_left_behind_by_killed_commands() -> None:
    # A process of its own: torch cannot be forked after it has trained.
    commands = ["--commands", "pretrain", *["publish"] * 9]
    attack = subprocess.run(
        [sys.executable, "-m", "tests.faults.kills", "--attempts", "10", "--seed", "3", *commands],
        capture_output=True,
        text=True,
    )
    assert attack.returncode == 0, attack.stdout + attack.stderr
    assert attack.stdout.endswith("10 survived\n")
    assert "publish SIGKILL" in attack.stdout and "pretrain SIG" in attack.stdout
