"""What `qc` can do: one entry per command, thin over the packages.

Imports stand inside the functions: `qc --help` must not wait for torch.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qc_core.cli import schedule, submit
from qc_core.cli.output import print_json, print_table
from qc_core.errors import WrongUse

Overrides = list[str]

_RECIPE = "a name from `qc recipes`, or a YAML file"


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
    _json(parser)


def _recipes(options: Namespace, _: Overrides) -> None:
    from qc_core.recipes.catalog import RECIPES
    from qc_core.recipes.resolve import to_mapping

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
    _recipe(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="run folder (default: a new one in ./runs)"
    )
    _json(parser)


def _run(options: Namespace, overrides: Overrides) -> None:
    from qc_core.cli.run import run

    run(options.recipe, overrides, options.output, as_json=options.json)


def _ingest_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help=_RECIPE)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help="data set folder to write"
    )
    parser.add_argument(
        "--describe", metavar="SOURCE", help="only tell what is in a file, a folder or minari:ID"
    )
    _json(parser)


def _ingest(options: Namespace, overrides: Overrides) -> None:
    if options.describe is not None:
        from qc_core.cli.describe import describe

        if options.recipe or options.output or overrides:
            raise WrongUse("qc ingest: --describe SOURCE stands alone, or with --json")
        describe(options.describe, as_json=options.json)
        return
    if not options.recipe or not options.output:
        raise WrongUse("qc ingest: the following arguments are required: recipe, -o/--output")
    from qc_core.data.ingest import ingest
    from qc_core.recipes.resolve import resolve

    manifest = ingest(resolve(options.recipe, overrides), options.output)
    if options.json:
        print_json(manifest)


def _pretrain_arguments(parser: ArgumentParser) -> None:
    _recipe(parser)
    parser.add_argument("dataset", type=Path, help="data set folder")
    _output(parser, "checkpoint folder to write")


def _pretrain(options: Namespace, overrides: Overrides) -> None:
    from qc_core.recipes.resolve import resolve
    from qc_core.training.pretrain import pretrain

    pretrain(resolve(options.recipe, overrides), options.dataset, options.output)


def _tune_arguments(parser: ArgumentParser) -> None:
    _recipe(parser)
    parser.add_argument("dataset", type=Path, help="data set folder")
    parser.add_argument("checkpoint", type=Path, help="pretrained checkpoint folder")
    _output(parser, "checkpoint folder to write: the best trial's")
    parser.add_argument(
        "--history", type=Path, metavar="FILE", help="where all trials go (default: OUTPUT.json)"
    )


def _tune(options: Namespace, overrides: Overrides) -> None:
    from qc_core.recipes.resolve import resolve
    from qc_core.tuning.tune import tune

    output: Path = options.output
    tune(
        resolve(options.recipe, overrides),
        options.checkpoint,
        options.dataset,
        output,
        options.history or output.with_name(output.name + ".json"),
    )


def _evaluate_arguments(parser: ArgumentParser) -> None:
    _recipe(parser)
    parser.add_argument("offline", type=Path, help="pretrained checkpoint folder")
    parser.add_argument("online", type=Path, help="fine-tuned checkpoint folder")
    _output(parser, "JSON file to write")
    _json(parser)


def _evaluate(options: Namespace, overrides: Overrides) -> None:
    from qc_core.cli.output import policy_rows
    from qc_core.files import require_vacant
    from qc_core.recipes.resolve import resolve
    from qc_core.training.evaluate import evaluate

    require_vacant(options.output)
    content = evaluate(
        resolve(options.recipe, overrides), options.offline, options.online, options.output
    )
    if options.json:
        print_json(content)
    else:
        print_table(("policy", "success", "steps"), policy_rows(content["policies"]))


def _export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="checkpoint folder")
    _output(parser, "policy folder to write")
    parser.add_argument(
        "--evaluation", type=Path, metavar="FILE", help="what `qc evaluate` wrote, to carry along"
    )


def _export(options: Namespace, _: Overrides) -> None:
    from qc_core.export.export import export

    export(options.checkpoint, options.output, options.evaluation)


def _promote_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help=_RECIPE)
    parser.add_argument("policy", nargs="?", type=Path, help="policy folder")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="what it was exported from, to keep for --train.warm-start",
    )
    parser.add_argument(
        "--rollback", metavar="NAME", help="instead, give this policy's alias its version before"
    )
    parser.add_argument("--alias", help="with --rollback: which alias (champion)")
    _json(parser)


def _promote(options: Namespace, overrides: Overrides) -> None:
    if options.rollback is not None:
        from qc_core.cli.policies import roll_back

        if options.recipe or overrides:
            raise WrongUse("qc promote: --rollback NAME stands alone, or with --alias and --json")
        roll_back(options.rollback, options.alias, as_json=options.json)
        return
    if not options.recipe or not options.policy:
        raise WrongUse("qc promote: the following arguments are required: recipe, policy")
    if options.alias is not None:
        raise WrongUse("--alias is for --rollback: give both")
    from qc_core.recipes.resolve import resolve
    from qc_core.store.open import open_store
    from qc_core.store.promote import promote

    content = promote(
        resolve(options.recipe, overrides),
        options.policy,
        open_store(),
        checkpoint=options.checkpoint,
    )
    if options.json:
        print_json(content)


def _study_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="YAML file: recipes, methods, seeds and more")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="study folder (default: ./runs/NAME)"
    )
    parser.add_argument("--workers", type=int, help="runs side by side (default: one per core)")


def _study(options: Namespace, _: Overrides) -> None:
    from qc_core.cli.study import study

    study(options.study, options.output, options.workers)


def _compile_arguments(parser: ArgumentParser) -> None:
    _recipe(parser)
    _output(parser, "package to write, a .yaml file")


def _compile(options: Namespace, overrides: Overrides) -> None:
    from pipeline.compile import compile_pipeline
    from qc_core.recipes.resolve import expand, resolve

    resolve(options.recipe, overrides)
    name, words = expand(options.recipe, overrides)
    compile_pipeline(name, words, options.output)
    print(f"wrote {options.output}: upload it in the KFP UI")


def _submit_arguments(parser: ArgumentParser) -> None:
    _recipe(parser)
    submit.arguments(parser)
    _json(parser)


def _schedule_arguments(parser: ArgumentParser) -> None:
    schedule.arguments(parser)
    _json(parser)


def _policies_arguments(parser: ArgumentParser) -> None:
    parser.usage = (
        "qc policies [NAME] [--json]\n"
        "       qc policies show NAME[@ALIAS or :VERSION] [--json]\n"
        "       qc policies lineage NAME[@ALIAS or :VERSION] [--json]\n"
        "       qc policies delete NAME:VERSION\n"
        "       qc policies prune NAME --keep N [--json]"
    )
    parser.add_argument("words", nargs="*", help="nothing, a policy, or what to do with which one")
    parser.add_argument("--keep", type=int, metavar="N", help="with prune: newest versions to keep")
    _json(parser)


def _policies(options: Namespace, _: Overrides) -> None:
    from qc_core.cli.policies import policies

    policies(options.words, options.keep, as_json=options.json)


def _pull_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("policy", help="NAME, NAME@ALIAS or NAME:VERSION")
    _output(parser, "policy folder to write, or Triton's model repository to add it to")
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
    _json(parser)


def _play(options: Namespace, _: Overrides) -> None:
    if options.coherence is None and options.against is not None:
        raise WrongUse("--against is for --coherence: give both")
    if options.coherence is not None and options.video is not None:
        raise WrongUse("--coherence and --video are two things: ask for one at a time")
    if options.coherence is not None and options.record is not None:
        raise WrongUse("--coherence and --record are two things: ask for one at a time")
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
    _json(parser)


def _episodes(options: Namespace, _: Overrides) -> None:
    from qc_core.cli import episodes

    if options.action == "list":
        if options.files or options.environment:
            raise WrongUse("qc episodes list stands alone, or with --json")
        episodes.list_all(as_json=options.json)
        return
    if not options.files or not options.environment:
        raise WrongUse(
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
    _json(parser)


def _info(options: Namespace, _: Overrides) -> None:
    from qc_core.cli.info import info

    info(as_json=options.json)


def _recipe(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", help=_RECIPE)


def _output(parser: ArgumentParser, what: str) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PATH", help=what)


def _json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


COMMANDS: dict[str, Command] = {
    "recipes": Command("list the named configurations", _recipes_arguments, _recipes),
    "run": Command("the whole pipeline on this machine", _run_arguments, _run, True),
    "ingest": Command("one step: collect or convert a data set", _ingest_arguments, _ingest, True),
    "pretrain": Command("one step: learn offline", _pretrain_arguments, _pretrain, True),
    "tune": Command("one step: tune and fine-tune online", _tune_arguments, _tune, True),
    "evaluate": Command("one step: compare the policies", _evaluate_arguments, _evaluate, True),
    "export": Command("one step: write the policy as ONNX", _export_arguments, _export),
    "promote": Command("one step: publish the policy", _promote_arguments, _promote, True),
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
