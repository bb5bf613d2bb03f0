"""The pipeline's steps as commands, each without KFP.

Imports stand inside the functions: `qc --help` must not wait for torch.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from qc_core.cli.arguments import RECIPE, Overrides, json_flag, output, recipe
from qc_core.cli.output import print_json, print_policies
from qc_core.errors import UsageError


def ingest_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help=RECIPE)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help="data set folder to write"
    )
    parser.add_argument(
        "--describe", metavar="SOURCE", help="only tell what is in a file, a folder or minari:ID"
    )
    json_flag(parser)


def ingest_step(options: Namespace, overrides: Overrides) -> None:
    if options.describe is not None:
        from qc_core.cli.describe import describe

        if options.recipe or options.output or overrides:
            raise UsageError("qc ingest: --describe SOURCE stands alone, or with --json")
        describe(options.describe, as_json=options.json)
        return
    if not options.recipe or not options.output:
        raise UsageError("qc ingest: the following arguments are required: recipe, -o/--output")
    from qc_core.config.resolve import resolve
    from qc_core.data.ingest import ingest

    manifest = ingest(resolve(options.recipe, overrides), options.output)
    if options.json:
        print_json(manifest)


def pretrain_arguments(parser: ArgumentParser) -> None:
    recipe(parser)
    parser.add_argument("dataset", type=Path, help="data set folder")
    output(parser, "checkpoint folder to write")


def pretrain_step(options: Namespace, overrides: Overrides) -> None:
    from qc_core.config.resolve import resolve
    from qc_core.training.pretrain import pretrain

    pretrain(resolve(options.recipe, overrides), options.dataset, options.output)


def tune_arguments(parser: ArgumentParser) -> None:
    recipe(parser)
    parser.add_argument("dataset", type=Path, help="data set folder")
    parser.add_argument("checkpoint", type=Path, help="pretrained checkpoint folder")
    output(parser, "checkpoint folder to write: the best trial's")
    parser.add_argument(
        "--history", type=Path, metavar="FILE", help="where all trials go (default: OUTPUT.json)"
    )


def tune_step(options: Namespace, overrides: Overrides) -> None:
    from qc_core.config.resolve import resolve
    from qc_core.tuning.tune import tune

    target: Path = options.output
    tune(
        resolve(options.recipe, overrides),
        options.checkpoint,
        options.dataset,
        target,
        options.history or target.with_name(target.name + ".json"),
    )


def evaluate_arguments(parser: ArgumentParser) -> None:
    recipe(parser)
    parser.add_argument("offline", type=Path, help="pretrained checkpoint folder")
    parser.add_argument("online", type=Path, help="fine-tuned checkpoint folder")
    output(parser, "JSON file to write")
    json_flag(parser)


def evaluate_step(options: Namespace, overrides: Overrides) -> None:
    from qc_core.config.resolve import resolve
    from qc_core.documents import to_json
    from qc_core.evaluation.evaluate import evaluate
    from qc_core.files import require_new_file

    require_new_file(options.output)
    evaluation = evaluate(
        resolve(options.recipe, overrides), options.offline, options.online, options.output
    )
    if options.json:
        print_json(to_json(evaluation))
    else:
        print_policies("policy", evaluation.policies)


def export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="checkpoint folder")
    output(parser, "policy folder to write")
    parser.add_argument(
        "--evaluation", type=Path, metavar="FILE", help="what `qc evaluate` wrote, to carry along"
    )


def export_step(options: Namespace, _: Overrides) -> None:
    from qc_core.export.export import export

    export(options.checkpoint, options.output, options.evaluation)


def promote_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help=RECIPE)
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
    json_flag(parser)


def promote_step(options: Namespace, overrides: Overrides) -> None:
    if options.rollback is not None:
        from qc_core.cli.policies import roll_back

        if options.recipe or options.checkpoint or overrides:
            raise UsageError("qc promote: --rollback NAME stands alone, or with --alias and --json")
        roll_back(options.rollback, options.alias, as_json=options.json)
        return
    if not options.recipe or not options.policy:
        raise UsageError("qc promote: the following arguments are required: recipe, policy")
    if options.alias is not None:
        raise UsageError("--alias is for --rollback: give both")
    from qc_core.config.resolve import resolve
    from qc_core.documents import to_json
    from qc_core.publish.promote import promote
    from qc_core.store.open import open_store

    promotion = promote(
        resolve(options.recipe, overrides),
        options.policy,
        open_store(),
        checkpoint=options.checkpoint,
    )
    if options.json:
        print_json(to_json(promotion))
