"""What `qc` can do: one entry per command, thin over the packages.

Imports stand inside the functions: `qc --help` must not wait for torch.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli import schedule, submit
from qc_core.cli import steps
from qc_core.cli.arguments import Overrides, json_flag, output, recipe
from qc_core.cli.output import print_json, print_table
from qc_core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes:
        takes_overrides: options of the configuration may stand among its words.
    """

    description: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace, Overrides], int | None]
    takes_overrides: bool = False


def _recipes_arguments(parser: ArgumentParser) -> None:
    json_flag(parser)


def _recipes(options: Namespace, _: Overrides) -> None:
    from qc_core.config.catalog import RECIPES
    from qc_core.config.document import to_mapping

    if options.json:
        print_json(
            [
                {
                    "name": name,
                    "description": recipe.description,
                    "config": to_mapping(recipe.config),
                }
                for name, recipe in RECIPES.items()
            ]
        )
        return
    print_table(
        ("recipe", "what for"),
        [(name, recipe.description) for name, recipe in RECIPES.items()],
    )


def _run_arguments(parser: ArgumentParser) -> None:
    recipe(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="run folder (default: a new one in ./runs)"
    )
    json_flag(parser)


def _run(options: Namespace, overrides: Overrides) -> None:
    from pipeline.cli.run import run

    run(options.recipe, overrides, options.output, as_json=options.json)


def _study_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="YAML file: recipes, methods, seeds and more")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="study folder (default: ./runs/NAME)"
    )
    parser.add_argument("--workers", type=int, help="runs side by side (default: one per core)")


def _study(options: Namespace, _: Overrides) -> None:
    from qc_core.cli.sweep import study

    study(options.study, options.output, options.workers)


def _compile_arguments(parser: ArgumentParser) -> None:
    recipe(parser)
    output(parser, "package to write, a .yaml file")


def _compile(options: Namespace, overrides: Overrides) -> None:
    from pipeline.compile import compile_pipeline
    from qc_core.config.resolve import expand, resolve

    resolve(options.recipe, overrides)
    name, words = expand(options.recipe, overrides)
    compile_pipeline(name, words, options.output)
    print(f"wrote {options.output}: upload it in the KFP UI")


def _submit_arguments(parser: ArgumentParser) -> None:
    recipe(parser)
    submit.arguments(parser)
    json_flag(parser)


def _schedule_arguments(parser: ArgumentParser) -> None:
    schedule.arguments(parser)
    json_flag(parser)


def _policies_arguments(parser: ArgumentParser) -> None:
    parser.usage = (
        "qc policies [NAME] [--json]\n"
        "       qc policies show NAME[@ALIAS or :VERSION] [--json]\n"
        "       qc policies lineage NAME[@ALIAS or :VERSION] [--json]\n"
        "       qc policies delete NAME:VERSION [--json]\n"
        "       qc policies prune NAME --keep N [--json]"
    )
    parser.add_argument("words", nargs="*", help="nothing, a policy, or what to do with which one")
    parser.add_argument("--keep", type=int, metavar="N", help="with prune: newest versions to keep")
    json_flag(parser)


def _policies(options: Namespace, _: Overrides) -> None:
    from qc_core.cli.policies import policies

    policies(options.words, options.keep, as_json=options.json)


def _pull_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("policy", help="NAME, NAME@ALIAS or NAME:VERSION")
    output(parser, "policy folder to write, or Triton's model repository to add it to")
    parser.add_argument(
        "--layout",
        choices=("policy", "triton"),
        default="policy",
        help="the policy's own folder, or PATH/NAME as Triton reads it (policy)",
    )
    parser.add_argument(
        "--check", action="store_true", help="also play its golden cases on this machine"
    )
    parser.add_argument(
        "--verify-key",
        type=Path,
        metavar="FILE",
        help="refuse what the owner of this Ed25519 public key (PEM) has not signed",
    )


def _pull(options: Namespace, _: Overrides) -> None:
    from qc_core.cli.pull import pull

    pull(
        options.policy,
        options.output,
        layout=options.layout,
        check=options.check,
        verify_key=options.verify_key,
    )


def _play_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("policy", type=Path, help="pulled policy folder")
    parser.add_argument("--episodes", type=int, default=50, help="episodes to play (50)")
    parser.add_argument("--seed", type=int, default=0, help="choose other episodes (0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--video", type=Path, metavar="FILE", help="also film one, as mp4")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="also keep them, as npz for `qc episodes push`"
    )
    parser.add_argument(
        "--execution-horizon",
        type=int,
        metavar="K",
        help="actions of a chunk to play before asking again (what the policy says)",
    )
    parser.add_argument(
        "--coherence",
        type=Path,
        nargs="?",
        const=Path("coherence.svg"),
        metavar="FIGURE",
        help="instead, compare how chunks and single actions explore; draw it (coherence.svg)",
    )
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="with --coherence: another policy to compare"
    )
    json_flag(parser)


def _play(options: Namespace, _: Overrides) -> None:
    if options.coherence is None and options.against is not None:
        raise UsageError("--against is for --coherence: give both")
    if options.coherence is not None and options.video is not None:
        raise UsageError("--coherence and --video are two things: ask for one at a time")
    if options.coherence is not None and options.record is not None:
        raise UsageError("--coherence and --record are two things: ask for one at a time")
    if options.coherence is not None:
        from qc_core.cli.coherence import coherence

        coherence(
            options.policy,
            options.coherence,
            against=options.against,
            episodes=options.episodes,
            seed=options.seed,
            workers=options.workers,
            execution_horizon=options.execution_horizon,
            as_json=options.json,
        )
        return
    from qc_core.cli.play import play

    play(
        options.policy,
        episodes=options.episodes,
        seed=options.seed,
        workers=options.workers,
        execution_horizon=options.execution_horizon,
        video=options.video,
        record=options.record,
        as_json=options.json,
    )


def _episodes_arguments(parser: ArgumentParser) -> None:
    parser.usage = (
        "qc episodes push FILE … --environment ID [--json]\n       qc episodes list [--json]"
    )
    parser.add_argument("action", choices=("push", "list"), help="what to do")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="npz files to push")
    parser.add_argument("--environment", metavar="ID", help="Gymnasium id that they are from")
    json_flag(parser)


def _episodes(options: Namespace, _: Overrides) -> None:
    from qc_core.cli import episodes

    if options.action == "list":
        if options.files or options.environment:
            raise UsageError("qc episodes list stands alone, or with --json")
        episodes.list_all(as_json=options.json)
        return
    if not options.files or not options.environment:
        raise UsageError(
            "qc episodes push: the following arguments are required: FILE, --environment"
        )
    episodes.push(options.files, options.environment, as_json=options.json)


def _serve_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("policy", help="a pulled folder, or NAME, NAME@ALIAS, NAME:VERSION")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one (8080)")


def _serve(options: Namespace, _: Overrides) -> None:
    from qc_core.cli.serve import serve

    serve(options.policy, options.host, options.port)


def _info_arguments(parser: ArgumentParser) -> None:
    json_flag(parser)


def _info(options: Namespace, _: Overrides) -> None:
    from qc_core.cli.info import info

    info(as_json=options.json)


COMMANDS: dict[str, Command] = {
    "recipes": Command("list the named configurations", _recipes_arguments, _recipes),
    "run": Command("the whole pipeline on this machine", _run_arguments, _run, True),
    "ingest": Command(
        "one step: collect or convert a data set", steps.ingest_arguments, steps.ingest_step, True
    ),
    "pretrain": Command(
        "one step: learn offline", steps.pretrain_arguments, steps.pretrain_step, True
    ),
    "tune": Command(
        "one step: tune and fine-tune online", steps.tune_arguments, steps.tune_step, True
    ),
    "evaluate": Command(
        "one step: compare the policies", steps.evaluate_arguments, steps.evaluate_step, True
    ),
    "export": Command(
        "one step: write the policy as ONNX", steps.export_arguments, steps.export_step
    ),
    "promote": Command(
        "one step: publish the policy", steps.promote_arguments, steps.promote_step, True
    ),
    "study": Command("compare methods, tasks and seeds", _study_arguments, _study),
    "compile": Command("write the package for the KFP UI", _compile_arguments, _compile, True),
    "submit": Command("a run on a KFP server", _submit_arguments, submit.run, True),
    "schedule": Command("a recurring run on a KFP server", _schedule_arguments, schedule.run, True),
    "policies": Command("list, show, delete published policies", _policies_arguments, _policies),
    "pull": Command("fetch a published policy and verify it", _pull_arguments, _pull),
    "play": Command("roll out a pulled policy in its environment", _play_arguments, _play),
    "episodes": Command("upload episodes to learn from, list them", _episodes_arguments, _episodes),
    "serve": Command("answer robots over HTTP with a policy", _serve_arguments, _serve),
    "info": Command("versions, devices, whether the store answers", _info_arguments, _info),
}
