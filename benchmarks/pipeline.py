"""Measures the overhead of the pipeline: time per step beyond its work, and duplicate bytes.

Runs a recipe with `qc run`, each step in its own process through `kfp.local`, and then the same
functions one after another in one process. The difference per step is the start of its process:
the interpreter, imports and KFP. Also counts the bytes of all artifacts, and of files that another
step has written with the same content. Prints a table and writes JSON.

    .venv/bin/python -m benchmarks.pipeline -o benchmarks/results/pipeline.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.hardware import hardware
from qc_core.files import sha256_of

# One worker, because a single process runs no others in parallel.
_OVERRIDES = ["--tune.workers", "1"]
_STUDY = "benchmark"


def measure(recipe: str, threads: int) -> dict[str, Any]:
    """Return the seconds per step in both cases, and the bytes that the pipeline's steps write."""
    with tempfile.TemporaryDirectory(prefix="qc-benchmark-") as name:
        scratch = Path(name)
        load = os.getloadavg()[0]
        environment = {
            **os.environ,
            "QC_STORE": str(scratch / "store"),
            "OMP_NUM_THREADS": str(threads),
            "QC_THREADS": str(threads),
        }

        def run(*arguments: str) -> str:
            command = [sys.executable, "-m", *arguments]
            return subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env=environment
            ).stdout

        folder = scratch / "run"
        output = run("qc_core.cli.main", "run", recipe, "-o", str(folder), "--json", *_OVERRIDES)
        pipeline = json.loads(output)["seconds"]
        environment["QC_STORE"] = str(scratch / "store-of-one-process")
        start = time.monotonic()
        direct = json.loads(run("benchmarks.pipeline", "--direct", recipe, str(scratch / "one")))
        direct["all"] = time.monotonic() - start
        return {
            "load-before": round(load, 1),
            "pipeline-seconds": {step: round(value, 2) for step, value in pipeline.items()},
            "one-process-seconds": {step: round(value, 2) for step, value in direct.items()},
            **_bytes_of(folder / "steps"),
        }


def run_directly(recipe: str, folder: Path) -> dict[str, float]:
    """Call the functions of all steps in this process; return seconds per step and of imports."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        seconds[step] = time.monotonic() - start

    with timed("imports"):
        from qc_core.config.document import read_config
        from qc_core.config.resolve import AS_THE_RECIPE
        from qc_core.data.ingest import ingest
        from qc_core.documents import write
        from qc_core.evaluation.evaluate import evaluate
        from qc_core.export.export import export
        from qc_core.publish.promote import promote
        from qc_core.report.html import write_report
        from qc_core.store.open import open_store
        from qc_core.training.pretrain import pretrain
        from qc_core.tuning.prepare import prepare
        from qc_core.tuning.select import select_best
        from qc_core.tuning.study import STORAGE_VARIABLE
        from qc_core.tuning.worker import run_worker
    folder.mkdir()
    at = folder.joinpath
    os.environ[STORAGE_VARIABLE] = str(at("study.journal"))
    with timed("configure"):
        prepare(recipe, AS_THE_RECIPE, " ".join(_OVERRIDES), _STUDY, at("config"))
    config = read_config(at("config"))
    with timed("ingest"):
        ingest(config, at("dataset"))
    with timed("pretrain"):
        pretrain(config, at("dataset"), at("offline"))
    with timed("tune"):
        run_worker(
            config,
            at("offline"),
            at("dataset"),
            at("trials"),
            study_name=_STUDY,
            storage="",
            worker=0,
        )
    with timed("select"):
        select_best(
            config,
            at("offline"),
            _STUDY,
            "",
            at("best"),
            at("history"),
            published=at("selected"),
        )
    with timed("evaluate"):
        evaluate(config, at("offline"), at("best"), at("evaluation"))
    with timed("export"):
        export(at("selected"), at("policy"), at("evaluation"))
    with timed("promote"):
        write(at("promotion"), promote(config, at("policy"), open_store()))
    with timed("report"):
        write_report(
            config,
            dataset=at("dataset"),
            offline=at("offline"),
            history=at("history"),
            evaluation=at("evaluation"),
            policy=at("policy"),
            promotion=at("promotion"),
            output=at("report.html"),
            date="",
        )
    return seconds


def _bytes_of(steps: Path) -> dict[str, int]:
    """Return the bytes of all artifacts, and of files with the content of an earlier one."""
    seen: set[str] = set()
    written = copied = 0
    for path in sorted(path for path in steps.rglob("*") if path.is_file()):
        size, digest = path.stat().st_size, sha256_of(path)
        written += size
        copied += size if digest in seen else 0
        seen.add(digest)
    return {"bytes-written": written, "bytes-copied": copied}


def _print(row: dict[str, Any]) -> None:
    pipeline, direct = row["pipeline-seconds"], row["one-process-seconds"]
    print(f"{'step':10} {'pipeline':>9} {'one process':>12} {'more':>7}")
    for step, seconds in pipeline.items():
        # The single process has no step that reports the run status.
        once = direct.get(step, 0.0)
        print(f"{step:10} {seconds:7.1f} s {once:10.1f} s {seconds - once:5.1f} s")
    print(
        f"imports in one process {direct['imports']:.1f} s | {row['bytes-written']:,} bytes "
        f"written, {row['bytes-copied']:,} of them copies | load before {row['load-before']}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="smoke")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch threads, in both cases")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--direct", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.direct:
        recipe, folder = options.direct
        print(json.dumps(run_directly(recipe, Path(folder))))
        return
    runs: list[dict[str, Any]] = []
    content = {
        "command": f"python -m benchmarks.pipeline --recipe {options.recipe} "
        f"--threads {options.threads} --repeats {options.repeats}",
        "hardware": hardware(),
        "runs": runs,
    }
    for _ in range(options.repeats):
        runs.append(measure(options.recipe, options.threads))
        _print(runs[-1])
        if options.output:
            options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
