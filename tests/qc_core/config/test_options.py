"""Options of the configuration: their names, separation from arguments, and typed values."""

from typing import Any

import pytest

from qc_core.config.methods import METHODS
from qc_core.config.options import (
    RENAMED,
    apply,
    current_names,
    log_old_names,
    options,
    split_options,
    to_argv,
)
from qc_core.config.resolve import resolve
from qc_core.config.settings import Config, train_config
from qc_core.errors import UsageError


def test_options_have_names_types_defaults_and_help() -> None:
    found = options()
    assert list(found)[:4] == ["environment", "seed", "control-interval", "data.source"]
    assert found["seed"].kind is int and found["seed"].default == 0
    assert found["publish.gate"].choices == ("better", "not-worse")
    assert found["data.source"].is_list and found["train.hidden-dims"].is_list
    assert all(option.help for option in found.values())
    assert "recipe" not in found and "train.algorithm" not in found


def test_options_of_an_algorithm_name_their_methods() -> None:
    assert options()["train.alpha"].methods == ("qc-fql", "fql", "fql-n")
    assert options()["train.num-samples"].methods == ("qc", "bfn", "bfn-n")
    assert options()["train.tau"].methods is None


@pytest.mark.parametrize(
    ("argv", "others", "texts"),
    [
        (
            ["--train.hidden-dims", "3", "4", "--seed", "1", "smoke", "--data=x", "-o", "out"],
            ["smoke", "-o", "out"],
            {"train.hidden-dims": ["3", "4"], "seed": "1", "data.source": ["x"]},
        ),
        # A list ends at the next option or at a recipe.
        (
            ["--data", "collect", "store:episodes", "smoke", "-o", "out", "--seed", "3"],
            ["smoke", "-o", "out"],
            {"data.source": ["collect", "store:episodes"], "seed": "3"},
        ),
        (
            ["--data", "collect", "mine.yaml"],
            ["mine.yaml"],
            {"data.source": ["collect"]},
        ),
        # Booleans take no value; the last one counts.
        (
            ["--train.normalize-observations", "smoke"],
            ["smoke"],
            {"train.normalize-observations": True},
        ),
        (
            ["--train.normalize-observations", "--train.no-normalize-observations", "smoke"],
            ["smoke"],
            {"train.normalize-observations": False},
        ),
        (
            ["--train.normalize-observations=false"],
            [],
            {"train.normalize-observations": "false"},
        ),
        # Underscores and negative numbers.
        (["--train.offline_steps", "7"], [], {"train.offline-steps": "7"}),
        (
            ["--publish.margin", "-0.1", "--seed", "-1"],
            [],
            {"publish.margin": "-0.1", "seed": "-1"},
        ),
        # Options of the command itself.
        (["--output", "x", "--json", "--cron", "0 3 * * 1"], None, {}),
    ],
)
def test_options_are_separated_from_other_arguments(
    argv: list[str], others: list[str] | None, texts: dict[str, Any]
) -> None:
    assert split_options(argv) == (argv if others is None else others, texts)


def test_to_argv_is_the_inverse_of_split_options() -> None:
    argv = ["--seed", "3", "--train.no-normalize-observations", "--train.hidden-dims", "3", "4"]
    assert to_argv(split_options(argv)[1]) == argv


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data", "collect", "--data", "x.npz"], "--data is given twice"),
        (["--train.widths", "3", "--train.hidden-dims", "4"], "--train.hidden-dims is given twice"),
        (["--data"], "--data needs at least one value"),
        (["--seed", "--json"], "--seed needs a value"),
        (["--train.ofline-steps", "3"], r"Did you mean --train\.offline-steps\?"),
        (["--train.no-offline-steps"], r"unknown option --train\.no-offline-steps"),
    ],
)
def test_invalid_options_are_refused(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split_options(argv)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("seed", "x", "--seed: Expected `int`.*got 'x'"),
        ("train.normalize-observations", "maybe", "--train.normalize-observations.*got 'maybe'"),
        ("train.hidden-dims", ["3", "x"], "--train.hidden-dims"),
        ("publish.gate", "worse", "--publish.gate must be one of better, not-worse, got 'worse'"),
    ],
)
def test_values_of_the_wrong_type_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        apply(Config(), {name: value})


@pytest.mark.parametrize("text", ["true", "True", "1"])
def test_booleans_as_text(text: str) -> None:
    config = apply(Config(), {"train.normalize-observations": text})
    assert config.train.normalize_observations is True


def test_an_option_of_another_method_is_refused_with_its_methods() -> None:
    with pytest.raises(
        UsageError,
        match=r"--train\.num-samples is not an option of qc-fql: .* choose qc or bfn or bfn-n",
    ):
        resolve("smoke", ["--train.num-samples", "8"])
    config = resolve("smoke", ["--train.num-samples", "8", "--train.method", "qc"])
    assert config.train == resolve("smoke", ["--train.method", "qc"]).train.changed(num_samples=8)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_names_are_accepted_with_a_hint(
    capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    _, written = split_options([f"--{old}", "3"])
    methods = options()[new].methods or tuple(METHODS)
    log_old_names(written, methods)
    (hint,) = capsys.readouterr().err.splitlines()
    assert f"--{old} is now called --{new}" in hint
    texts = current_names(written, methods)
    assert list(texts) == [new]
    group, name = new.split(".")
    config = Config(train=train_config(methods[0]))
    part = getattr(apply(config, texts), group)
    field = name.replace("-", "_")
    value = getattr(part, field) if hasattr(part, field) else getattr(part.algorithm, field)
    assert value in (3, (3,))


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--train.critics", "3", "--train.num-critics", "4"], "4"),
        (["--train.num-critics", "4", "--train.critics", "3"], "3"),
        (["--train.num-critics", "4", "--train.critics", "3", "--train.num-critics", "5"], "5"),
    ],
)
def test_the_last_of_an_old_and_a_current_name_counts(argv: list[str], value: str) -> None:
    _, texts = split_options(argv)
    assert current_names(texts, ["qc"]) == {"train.num-critics": value}


def test_changed_options_keep_the_others() -> None:
    config = apply(Config(), {"train.alpha": 7, "tune.trials": "3"})
    assert config.train == Config().train.changed(alpha=7.0)
    assert (config.tune.trials, config.data) == (3, Config().data)
