"""Arguments, subcommands and options of the configuration are parsed and shown in the help."""

import shlex
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import shtab

from qc_core.cli.arguments import recipe_argument
from qc_core.cli.commands import COMMANDS, load
from qc_core.cli.completion import complete_parser
from qc_core.cli.examples import EXAMPLES
from qc_core.cli.main import main
from qc_core.cli.old_forms import current_form
from qc_core.cli.parser import Parser
from qc_core.config.options import options
from qc_core.errors import UsageError


def recipe_parser() -> Parser:
    parser = Parser(prog="qc test")
    recipe_argument(parser)
    parser.add_argument("-o", "--output")
    return parser


def do_nothing(_: Namespace) -> None: ...


@pytest.fixture
def group() -> Parser:
    parser = Parser(prog="qc group")
    recipe_argument(parser.add_subcommand("create", "create one", do_nothing))
    parser.add_subcommand("list", "list all", do_nothing).add_argument("name", nargs="?")
    return parser


@pytest.mark.parametrize(
    "words",
    [
        "smoke --seed 3 --train.hidden-dims 3 4 -o out",
        "--seed 3 --train.hidden-dims 3 4 smoke -o out",
        "--seed=3 -o out --train.hidden_dims 3 4 smoke",
    ],
)
def test_config_options_can_be_anywhere(words: str) -> None:
    parsed = recipe_parser().parse_args(words.split())
    assert (parsed.recipe, parsed.output) == ("smoke", "out")
    assert parsed.overrides == ["--seed", "3", "--train.hidden-dims", "3", "4"]


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [("--sede", "--seed"), ("--outptu", "--output"), ("--tune.trails", "--tune.trials")],
)
def test_unknown_options_are_refused_with_the_closest_one(word: str, suggestion: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean {suggestion}"):
        recipe_parser().parse_args(["smoke", word])


def test_options_cannot_be_abbreviated() -> None:
    with pytest.raises(UsageError, match="unknown option --out"):
        recipe_parser().parse_args(["smoke", "--out", "x"])


def test_subcommands_take_their_own_arguments(group: Parser) -> None:
    assert group.parse_args(["create", "--seed", "3", "smoke"]).overrides == ["--seed", "3"]
    assert group.parse_args(["list", "x"]).name == "x"
    assert group.parse_args(["list"]).run is do_nothing
    with pytest.raises(UsageError, match="unknown option --seed"):
        group.parse_args(["list", "--seed", "3"])
    with pytest.raises(UsageError, match="invalid choice: 'other'"):
        group.parse_args(["other"])
    with pytest.raises(UsageError, match="required: SUBCOMMAND"):
        group.parse_args([])


@pytest.mark.parametrize(
    ("words", "attribute", "value"),
    [
        ("policies --keep 2 prune n", "keep", 2),
        ("policies --json --keep=2 prune n", "name", "n"),
        ("policies --keep 2 n prune", "name", "n"),
        ("episodes --environment list push f", "environment", "list"),
        ("schedule --endpoint delete pause s", "name", "s"),
        ("schedule --endpoint U list", "endpoint", "U"),
        ("schedule --seed 3 create --name list smoke", "name", "list"),
    ],
)
def test_options_of_a_subcommand_can_precede_it(words: str, attribute: str, value: Any) -> None:
    name, *argv = current_form(words.split())
    parser = Parser(prog=f"qc {name}")
    load(COMMANDS[name].arguments)(parser)
    assert getattr(parser.parse_args(argv), attribute) == value


def test_a_default_subcommand_runs_if_none_is_named(group: Parser) -> None:
    group.set_default_subcommand("list")
    assert group.parse_args([]).name is None
    assert group.parse_args(["x"]).name == "x"
    assert group.parse_args(["create", "smoke"]).recipe == "smoke"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: qc {name}")


def test_help_lists_the_config_options_of_recipe_commands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (["run"], ["schedule", "create"]):
        assert main([*words, "--help"]) == 0
        shown = capsys.readouterr().out
        for option in options().values():
            assert f"\n  --{option.name}" in shown
        for line in (
            "--tune.trials N (8)",
            "--data.terminal-handling {drop,keep} (drop)",
            "--train.hidden-dims VALUE ... (512 512 512 512)",
            "--train.normalize-observations, --train.no-normalize-observations (no)",
            "Only for qc-fql, fql, fql-n.",
        ):
            assert line in " ".join(shown.split())
    assert main(["pull", "--help"]) == 0
    assert "--train." not in capsys.readouterr().out


def test_every_command_can_be_loaded() -> None:
    for name, command in COMMANDS.items():
        load(command.arguments)(Parser(prog=f"qc {name}"))


def test_help_shows_the_options_of_the_command_with_the_values_of_the_recipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["pretrain", "smoke", "--train.method", "qc", "--train.batch-size", "7", "--help"]
    assert main(words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "configuration options, with the values of smoke:" in shown
    assert "--train.offline-steps N (60)" in shown and "--train.batch-size N (7)" in shown
    assert "--train.num-samples N" in shown and "--train.alpha" not in shown
    assert "--publish." not in shown and "--tune." not in shown


def test_every_command_has_two_examples_that_it_accepts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names: list[str] = []
    for name, command in COMMANDS.items():
        parser = Parser(prog=f"qc {name}")
        load(command.arguments)(parser)
        names += [leaf.prog.removeprefix("qc ") for leaf in parser.leaves()]
    assert set(names) == set(EXAMPLES)
    for name, examples in EXAMPLES.items():
        for example in examples:
            line = example.removeprefix('eval "$(').removesuffix(')"').partition(" > ")[0]
            command, *argv = shlex.split(line)[1:]
            parser = Parser(prog=f"qc {command}")
            load(COMMANDS[command].arguments)(parser)
            assert parser.parse_args(argv).run
        assert main([*name.split(), "--help"]) == 0
        assert f"examples:\n  {examples[0]}\n  {examples[1]}\n" in capsys.readouterr().out


def test_a_shell_completes_commands_and_options(tmp_path: Path) -> None:
    script = tmp_path / "qc.bash"
    script.write_text(shtab.complete(complete_parser(), "bash"))
    program = (
        f"source {script}; "
        "for line in 'qc comp' 'qc run smoke --train.precision ' 'qc pull x --fo'; "
        'do COMP_WORDS=($line); [[ $line == *" " ]] && COMP_WORDS+=(""); '
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=(); "
        '_shtab_qc qc "${COMP_WORDS[$COMP_CWORD]}"; echo "${COMPREPLY[@]}"; done'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    commands, values, options = done.stdout.splitlines()
    assert set(commands.split()) >= {"compare", "compile", "completion"}
    assert values.split() == ["auto", "float32", "bfloat16"]
    assert options == "--force"
