"""Checks that retraining starts from the champion, learns from new episodes and stops without any.

Runs a recipe three times with the same command, as a schedule does, in a temporary store:

1. without uploads and without a champion: trains from scratch on collected episodes
2. after episodes of the champion and a damaged file were uploaded
3. without new data

Prints the lineage and writes JSON.

    .venv/bin/python -m benchmarks.retraining -o benchmarks/results/retraining.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.hardware import hardware

_OPTIONS = ("--data", "collect", "store:episodes", "--train.warm-start", "champion")


def retrain(recipe: str, episodes: int, scratch: Path) -> dict[str, Any]:
    """Run three times; return the result of each run, the uploads and the final lineage."""
    environment = {**os.environ, "QC_STORE": str(scratch / "store")}

    def qc(*arguments: str, code: int = 0) -> str:
        print(f"qc {' '.join(arguments)}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "qc_core.cli.main", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=scratch,
        )
        if done.returncode != code:
            raise SystemExit(f"qc {arguments[0]} ended with {done.returncode}, expected {code}")
        return done.stdout

    def run(name: str) -> dict[str, Any]:
        return json.loads(qc("run", recipe, *_OPTIONS, "-o", name, "--json"))

    runs = [run("first")]
    qc("pull", f"{recipe}@champion", "-o", "champion")
    qc("play", "champion", "--episodes", str(episodes), "--record", "played.npz")
    played = (scratch / "played.npz").read_bytes()
    (scratch / "damaged.npz").write_bytes(played[: len(played) // 2])
    contract = json.loads((scratch / "champion" / "policy.json").read_bytes())
    push = ("episodes", "push", "damaged.npz", "played.npz", "--json")
    uploads = json.loads(qc(*push, "--environment", contract["environment"], code=2))
    runs += [run("second"), run("third")]
    retrained = runs[1]["promotion"]
    reference = f"{retrained['name']}:{retrained['version']}"
    print(qc("policies", "lineage", reference))
    return {
        "runs": [_short(result) for result in runs],
        "uploads": uploads,
        "lineage": json.loads(qc("policies", "lineage", reference, "--json")),
    }


def _short(result: dict[str, Any]) -> dict[str, Any]:
    if "up-to-date" in result:
        return {"up-to-date": result["up-to-date"]}
    promotion = result["promotion"]
    return {
        "policy": f"{promotion['name']}:{promotion['version']}",
        "champion": promotion["champion"],
        "seconds": round(result["seconds"]["all"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="smoke")
    parser.add_argument("--episodes", type=int, default=4, help="episodes of the champion")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qc-benchmark-") as name:
        content = {
            "command": f"python -m benchmarks.retraining --recipe {options.recipe} "
            f"--episodes {options.episodes}",
            "hardware": hardware(),
            **retrain(options.recipe, options.episodes, Path(name)),
        }
    text = json.dumps(content, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
