"""Two examples of each command and subcommand, which its help shows."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, str]] = {
    "recipes": ("qc recipes", "qc recipes --json"),
    "run": (
        "qc run cube-single-quickstart",
        "qc run cube-single-quickstart --seed 1 --train.method fql -o fql-1",
    ),
    "describe": ("qc describe data", "qc describe demo.hdf5 --replay 3"),
    "ingest": (
        "qc ingest cube-single-quickstart -o data",
        "qc ingest cube-single-quickstart --data demo.npz -o data",
    ),
    "pretrain": (
        "qc pretrain cube-single-quickstart data -o offline",
        "qc pretrain cube-single-quickstart data -o short --train.offline-steps 2000",
    ),
    "tune": (
        "qc tune cube-single-quickstart data offline -o online",
        "qc tune cube-single-quickstart data offline -o online --tune.trials 8",
    ),
    "evaluate": (
        "qc evaluate cube-single-quickstart offline online -o evaluation.json",
        "qc evaluate smoke offline online -o evaluation.json --evaluate.episodes 200",
    ),
    "export": (
        "qc export online -o policy --evaluation evaluation.json",
        "qc export offline -o offline-policy",
    ),
    "promote": (
        "qc promote cube-single-quickstart policy --checkpoint online",
        "qc promote arm:20261201T101500-1f0c9a2b --approve",
    ),
    "sweep": ("qc sweep methods.yaml", "qc sweep methods.yaml -o runs/methods --workers 4"),
    "tensorboard": ("qc tensorboard", "qc tensorboard runs/20261201-101500-smoke --port 6007"),
    "runs": ("qc runs", "qc runs --limit 100 --json"),
    "compare": (
        "qc compare 20261201-101500-smoke 20261201-102300-smoke",
        "qc compare runs/a runs/b runs/c -o comparison.html",
    ),
    "compile": (
        "qc compile cube-double -o pipeline.yaml",
        "qc compile cube-double -o pipeline.yaml --train.method qc --seed 3",
    ),
    "submit": (
        "qc submit cube-double-task2 --wait",
        "qc submit cube-double-task2 --train.method qc --seed 3",
    ),
    "release": ("qc release", "qc release --namespace kfp --json"),
    "schedule create": (
        'qc schedule create cube-double --cron "0 3 * * 1"',
        "qc schedule create cube-double --every 12h --name retrain",
    ),
    "schedule list": ("qc schedule list", "qc schedule list --json"),
    "schedule pause": ("qc schedule pause retrain", "qc schedule pause retrain --json"),
    "schedule resume": ("qc schedule resume retrain", "qc schedule resume retrain --make-up"),
    "schedule delete": ("qc schedule delete retrain", "qc schedule delete retrain --now"),
    "cluster check": ("qc cluster check", "qc cluster check cube-double --run"),
    "cluster connect": ("qc cluster connect --dry-run", "qc cluster connect"),
    "cluster disconnect": ("qc cluster disconnect", "qc cluster disconnect --namespace kfp"),
    "policies list": ("qc policies", "qc policies list cube-double --json"),
    "policies show": ("qc policies show cube-double", "qc policies show cube-double@latest --json"),
    "policies lineage": (
        "qc policies lineage cube-double",
        "qc policies lineage cube-double@champion --json",
    ),
    "policies delete": (
        "qc policies delete cube-double:20261201T101500-1f0c9a2b",
        "qc policies delete cube-double:20261201T101500-1f0c9a2b --json",
    ),
    "policies prune": (
        "qc policies prune cube-double --keep 5",
        "qc policies prune cube-double --keep 1 --json",
    ),
    "rollback": ("qc rollback cube-double", "qc rollback cube-double --alias latest"),
    "pull": (
        "qc pull cube-double@champion -o policy --check",
        "qc pull cube-double -o policy --force --verify-key public.pem",
    ),
    "play": (
        "qc play cube-double@champion",
        "qc play policy --episodes 200 --video episode.mp4",
    ),
    "coherence": ("qc coherence policy", "qc coherence policy --against cube-double@champion"),
    "episodes push": (
        "qc episodes push episodes.npz --policy arm",
        "qc episodes push a.npz b.npz --environment cube-double-play-singletask-v0",
    ),
    "episodes list": ("qc episodes list", "qc episodes list --json"),
    "serve": ("qc serve cube-double@champion", "qc serve policy --host 0.0.0.0 --port 9000"),
    "clean": ("qc clean", "qc clean /data/experiments --json"),
    "completion": (
        'eval "$(qc completion bash)"',
        "qc completion zsh > ~/.zsh/completions/_qc",
    ),
    "info": ("qc info", "qc info --json"),
}


def examples_of(prog: str) -> str:
    """Return the examples of a command as a section of its help; empty if it has none."""
    found = EXAMPLES.get(prog.removeprefix("qc "))
    return "\n".join(["examples:", *(f"  {line}" for line in found)]) if found else ""
