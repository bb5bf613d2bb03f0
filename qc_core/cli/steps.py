"""The steps of the pipeline as commands that need no KFP.

Functions import what they run: help must not wait for torch.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from qc_core.cli.arguments import (
    fresh_argument,
    json_argument,
    output_argument,
    recipe_argument,
)
from qc_core.cli.output import print_evaluation, print_json
from qc_core.cli.parser import Parser
from qc_core.errors import UsageError

_PROMOTE_HELP = """publish a policy, and make it champion if it passes the gate

Without a simulator there are only offline figures, and a person decides: `--approve` makes the
policy champion. `qc promote NAME:VERSION --approve` does so for a version that is published."""


def ingest_arguments(parser: Parser) -> None:
    recipe_argument(parser, "", "data")
    output_argument(parser, "dataset folder to write")
    json_argument(parser)
    parser.set_defaults(run=ingest_step)


def ingest_step(options: Namespace) -> None:
    from qc_core.config.resolve import resolve
    from qc_core.data.ingest import ingest
    from qc_core.documents import to_json

    info = ingest(resolve(options.recipe, options.overrides), options.output)
    if options.json:
        print_json(to_json(info))


def pretrain_arguments(parser: Parser) -> None:
    recipe_argument(parser, "", "data", "train")
    parser.add_argument("dataset", type=Path, help="dataset folder")
    output_argument(parser, "checkpoint folder to write")
    fresh_argument(parser)
    json_argument(parser)
    parser.set_defaults(run=pretrain_step)


def pretrain_step(options: Namespace) -> None:
    from qc_core.config.resolve import resolve
    from qc_core.training.pretrain import pretrain

    pretrain(
        resolve(options.recipe, options.overrides),
        options.dataset,
        options.output,
        fresh=options.fresh,
    )
    if options.json:
        from qc_core.training.checkpoint import read_checkpoint

        print_json({"checkpoint": str(options.output), **read_checkpoint(options.output).as_json()})


def tune_arguments(parser: Parser) -> None:
    recipe_argument(parser, "", "data", "train", "tune")
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument("checkpoint", type=Path, help="pretrained checkpoint folder")
    output_argument(parser, "checkpoint folder of the best trial to write")
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="JSON file of all trials to write (OUTPUT.json)",
    )
    fresh_argument(parser)
    json_argument(parser)
    parser.set_defaults(run=tune_step)


def tune_step(options: Namespace) -> None:
    from qc_core.config.resolve import resolve
    from qc_core.files import read_json
    from qc_core.tuning.tune import tune

    target: Path = options.output
    history = options.history or target.with_name(target.name + ".json")
    tune(
        resolve(options.recipe, options.overrides),
        options.checkpoint,
        options.dataset,
        target,
        history,
        fresh=options.fresh,
    )
    if options.json:
        print_json({"checkpoint": str(target), **read_json(history)})


def _dataset_argument(parser: Parser) -> None:
    parser.add_argument(
        "--dataset",
        type=Path,
        metavar="DIR",
        help="without a simulator: dataset folder with the held-out episodes to evaluate on",
    )


def _held_out(options: Namespace) -> Path | None:
    from qc_core.data.dataset.dataset import VALIDATION_FOLDER

    return options.dataset and options.dataset / VALIDATION_FOLDER


def evaluate_arguments(parser: Parser) -> None:
    recipe_argument(parser, "", "evaluate")
    parser.add_argument("offline", type=Path, help="pretrained checkpoint folder")
    parser.add_argument("online", type=Path, help="fine-tuned checkpoint folder")
    _dataset_argument(parser)
    output_argument(parser, "JSON file to write")
    json_argument(parser)
    parser.set_defaults(run=evaluate_step)


def evaluate_step(options: Namespace) -> None:
    from qc_core.config.resolve import resolve
    from qc_core.documents import to_json
    from qc_core.evaluation.evaluate import evaluate
    from qc_core.files import require_new_file

    require_new_file(options.output)
    evaluation = evaluate(
        resolve(options.recipe, options.overrides),
        options.offline,
        options.online,
        options.output,
        _held_out(options),
    )
    if options.json:
        print_json(to_json(evaluation))
    else:
        print_evaluation("policy", evaluation)


def export_arguments(parser: Parser) -> None:
    parser.add_argument("checkpoint", type=Path, help="checkpoint folder")
    output_argument(parser, "policy folder to write")
    parser.add_argument(
        "--evaluation",
        type=Path,
        metavar="FILE",
        help="output of `qc evaluate` to include in the policy",
    )
    json_argument(parser)
    parser.set_defaults(run=export_step)


def export_step(options: Namespace) -> None:
    from qc_core.documents import to_json
    from qc_core.export.export import export

    contract = export(options.checkpoint, options.output, options.evaluation)
    if options.json:
        print_json({"policy": str(options.output), **to_json(contract)})


def promote_arguments(parser: Parser) -> None:
    parser.description = _PROMOTE_HELP
    recipe_argument(parser, "", "evaluate", "publish")
    parser.add_argument("policy", type=Path, nargs="?", help="policy folder")
    parser.add_argument(
        "--approve",
        action="store_true",
        help="without a simulator: make the policy champion, by your own decision",
    )
    _dataset_argument(parser)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="checkpoint of the policy, stored for --train.warm-start",
    )
    json_argument(parser)
    parser.set_defaults(run=promote_step)


def promote_step(options: Namespace) -> None:
    from qc_core.config.resolve import resolve
    from qc_core.documents import to_json
    from qc_core.publish.approve import approve
    from qc_core.publish.promote import promote
    from qc_core.store.open import open_store

    if options.policy is None:
        if not options.approve:
            raise UsageError("give a policy folder, or approve a version: NAME:VERSION --approve")
        approval = approve(open_store(), options.recipe)
        if options.json:
            print_json(to_json(approval))
        else:
            print(f"{approval.policy} is champion, approved by {approval.person}")
        return
    promotion = promote(
        resolve(options.recipe, options.overrides),
        options.policy,
        open_store(),
        checkpoint=options.checkpoint,
        held_out=_held_out(options),
        approved=options.approve,
    )
    if options.json:
        print_json(to_json(promotion))
