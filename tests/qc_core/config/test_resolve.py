"""Recipes and overrides resolve to a checked configuration, or to a one-line error."""

from pathlib import Path
from typing import Any

import pytest

from qc_core.config.catalog import RECIPES
from qc_core.config.document import as_config, to_mapping
from qc_core.config.methods import METHODS
from qc_core.config.resolve import expand, resolve
from qc_core.config.settings import TrainConfig
from qc_core.errors import UsageError


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_resolves_and_can_be_saved(name: str) -> None:
    config = resolve(name)
    assert config.recipe == name
    assert as_config(to_mapping(config), "saved") == config


@pytest.mark.parametrize(
    ("recipe", "environment", "qc_fql", "fql", "fql_n", "qc", "bfn"),
    [
        ("cube-double", "cube-double-singletask-task2-v0", 300, 300, 100, 32, 4),
        ("cube-triple-task3", "cube-triple-singletask-task3-v0", 100, 300, 100, 32, 4),
        ("cube-quadruple-100m", "cube-quadruple-singletask-task2-v0", 100, 300, 100, 32, 4),
        ("scene-sparse-task5", "scene-singletask-task5-v0", 300, 300, 100, 32, 4),
        ("puzzle-3x3-sparse", "puzzle-3x3-singletask-task4-v0", 300, 100, 100, 64, 4),
        ("square-mh", "robomimic/square-v0", 10_000, 10_000, 10_000, 16, 4),
    ],
)
def test_paper_recipes_have_the_tuned_values_of_each_method(
    recipe: str, environment: str, qc_fql: int, fql: int, fql_n: int, qc: int, bfn: int
) -> None:
    def train(method: str) -> TrainConfig:
        config = resolve(recipe, ["--train.method", method])
        assert (config.recipe, config.environment) == (recipe, environment)
        return config.train

    def algorithm(method: str) -> Any:
        return train(method).algorithm

    assert resolve(recipe).train == train("qc")
    assert [algorithm(m).alpha for m in ("qc-fql", "fql", "fql-n")] == [
        qc_fql,
        fql,
        fql_n,
    ]
    assert [algorithm(m).num_samples for m in ("qc", "bfn", "bfn-n")] == [qc, bfn, bfn]
    assert [train(m).num_critics for m in ("qc", "fql", "rlpd", "qc-rlpd")] == [2, 2, 10, 10]
    for method in METHODS:
        values = train(method)
        assert (values.hidden_dims, values.learning_rate) == ((512,) * 4, 3e-4)
        assert (values.backup_horizon, values.discount, values.tau) == (5, 0.99, 0.005)
        assert (values.offline_steps, values.online_steps) == (1_000_000, 1_000_000)
        assert (values.batch_size, values.learning_starts) == (256, 5_000)


def test_paper_recipes_have_the_rewards_of_the_paper() -> None:
    transforms = {name: resolve(name).data.reward_transform for name in RECIPES}
    assert {name for name in transforms if transforms[name] == "sparse"} == {
        "scene-sparse",
        "puzzle-3x3-sparse",
    }
    assert {name for name in transforms if transforms[name] == "minus-one"} == {
        "lift-mh",
        "can-mh",
        "square-mh",
    }


def test_overrides_have_precedence_over_tuned_values() -> None:
    words = ["--train.method", "fql", "--train.alpha", "7", "--train.num-critics", "4"]
    train = resolve("puzzle-3x3-sparse", words).train
    settings: Any = train.algorithm
    assert (settings.alpha, train.num_critics) == (7, 4)


def test_only_recipes_with_numbered_tasks_have_task_names() -> None:
    for name in ("smoke-task1", "lift-mh-task1", "cube-double-task6"):
        with pytest.raises(UsageError, match="unknown recipe"):
            resolve(name)


def test_overrides_change_only_their_options() -> None:
    config = resolve(
        "smoke",
        [
            "--train.offline-steps",
            "7",
            "--train.hidden-dims",
            "3",
            "4",
            "--data",
            "x.npz",
            "--seed=5",
        ],
    )
    assert (config.train.offline_steps, config.train.hidden_dims) == (7, (3, 4))
    assert (config.data.source, config.seed) == (("x.npz",), 5)
    assert config.train.batch_size == RECIPES["smoke"].config.train.batch_size


def test_a_yaml_file_overrides_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "recipe: smoke\nseed: 3\ntrain:\n  offline-steps: 9\n  widths: [8, 8]\n"
        "  normalize-observations: false\n"
    )
    config = resolve(str(path), ["--seed", "4"])
    assert (config.recipe, config.policy_name, config.seed) == ("smoke", "mine", 4)
    assert (config.train.offline_steps, config.train.hidden_dims) == (9, (8, 8))
    assert not config.train.normalize_observations
    name, words = expand(str(path), ["--seed", "4"])
    assert resolve(name, words) == config


def test_a_method_ignores_an_option_that_it_lacks_under_its_old_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("recipe: smoke\ntrain: {candidates: 4}\n")
    argv = ["--train.distillation-weight", "3", "--train.method", "rlpd"]
    config = resolve(str(path), argv)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "ignoring --train.candidates: it is not an option of rlpd"
    assert second == "ignoring --train.distillation-weight: it is not an option of rlpd"
    own = ["--publish.name", "mine", "--train.method", "rlpd"]
    assert config == resolve("smoke", own)
    name, expanded = expand(str(path), argv)
    assert (name, sorted(expanded)) == ("smoke", sorted(own))
    with pytest.raises(UsageError, match=r"--train\.alpha is not an option of rlpd"):
        resolve("smoke", ["--train.alpha", "3", "--train.method", "rlpd"])


def test_the_hint_at_a_current_name_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    name, argv = expand("smoke", ["--train.distillation-weight", "3"])
    assert argv == ["--train.alpha", "3"]
    assert resolve(name, argv) == resolve("smoke", ["--train.alpha", "3"])
    (hint,) = capsys.readouterr().err.splitlines()
    assert "--train.distillation-weight is now called --train.alpha" in hint


def test_arguments_have_precedence_over_a_file_also_under_old_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("recipe: smoke\ntrain: {num-critics: 4, critics: 3}\n")
    assert resolve(str(path)).train.num_critics == 3
    assert resolve(str(path), ["--train.num-critics", "5"]).train.num_critics == 5
    assert resolve(str(path), ["--train.critics", "6"]).train.num_critics == 6


def test_the_policy_of_a_file_has_its_name_unless_another_one_is_given(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("recipe: smoke\n")
    assert resolve(str(path)).policy_name == "mine"
    assert resolve(str(path), ["--publish.name", "x"]).policy_name == "x"
    path.write_text("recipe: smoke\npublish: {name: y}\n")
    assert resolve(str(path)).policy_name == "y"
    # A file's name that no policy can have.
    other = path.rename(tmp_path / "My Recipe.yaml")
    other.write_text("recipe: smoke\n")
    assert resolve(str(other)).policy_name == "smoke"


@pytest.mark.parametrize(
    ("recipe", "words", "message"),
    [
        ("smok", [], "unknown recipe 'smok'.* Did you mean smoke?"),
        ("smoke", ["--train.ofline-steps", "3"], r"Did you mean --train\.offline-steps\?"),
        ("smoke", ["--train.offline-steps", "x"], "--train.offline-steps.*'x'"),
        ("smoke", ["--train.offline-steps"], "--train.offline-steps"),
        ("smoke", ["--train.method", "qcfql"], "unknown method 'qcfql'.*qc-fql"),
        (
            "smoke",
            ["--train.backup-horizon", "0"],
            "--train.backup-horizon must be at least 1, got 0",
        ),
        ("smoke", ["--train.discount", "1.5"], r"--train.discount must be in \(0, 1\], got 1.5"),
        ("smoke", ["--train.learning-rate", "nan"], "--train.learning-rate"),
        ("smoke", ["--train.hidden-dims", "8", "0"], "--train.hidden-dims"),
        ("smoke", ["--publish.margin", "1"], "--publish.margin must be between 0 and 1, got 1"),
        ("smoke", ["--publish.minimum-success", "1"], r"must be in \[0, 1\), got 1"),
        ("smoke", ["--publish.minimum-success", "-0.1"], r"must be in \[0, 1\), got -0.1"),
        ("smoke", ["--publish.gate", "worse"], "--publish.gate"),
        ("smoke", ["--seed", "-1"], "--seed must be in .0, 1024., got -1"),
        ("smoke", ["--evaluate.execution-horizon", "6"], "must be at most 5, .* got 6"),
        ("smoke", ["--evaluate.execution-horizon", "-1"], "must be at least 0, got -1"),
        (
            "smoke",
            ["--evaluate.execution-horizon", "2", "--train.method", "fql"],
            "--evaluate.execution-horizon must be at most 1, .* got 2",
        ),
        ("none.yaml", [], "cannot read none.yaml"),
    ],
)
def test_invalid_values_are_one_line_errors(recipe: str, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        resolve(recipe, words)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "content",
    [
        "- a list",
        "train: {horizon: 3}",
        "recipe: [1]",
        "{",
        "a: {b\nc: d",
        "\xff",
        "recipe: &a {b: *a}",
        "recipe: smoke\ntrain: &a {b: *a}",
        "recipe: smoke\ntrain: {widths: &a [[*a]]}",
    ],
)
def test_an_invalid_yaml_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"x\.yaml") as refusal:
        resolve(str(tmp_path / "x.yaml"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("key", ["help: true", "h: true", "help: 3"])
def test_help_is_an_unknown_key_of_a_yaml_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, key: str
) -> None:
    (tmp_path / "x.yaml").write_text(f"recipe: smoke\n{key}\n")
    with pytest.raises(UsageError, match="unknown option --h"):
        resolve(str(tmp_path / "x.yaml"))
    assert capsys.readouterr().out == ""


def test_a_yaml_alias_that_is_no_cycle_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "recipe: smoke\ntrain: {widths: &a [8, 8]}\ndata: {source: *a}\n"
    )
    config = resolve(str(tmp_path / "x.yaml"))
    assert (config.train.hidden_dims, config.data.source) == ((8, 8), ("8", "8"))


def test_an_invalid_policy_name_is_refused() -> None:
    with pytest.raises(UsageError, match="got 'My Policy'"):
        resolve("smoke", ["--publish.name", "My Policy"])


@pytest.mark.parametrize(
    "environment", ["robot/", "robot/my arm", "robot/../x", "robot/a?b=1", "a//b"]
)
def test_ids_that_are_no_part_of_a_key_are_refused(environment: str) -> None:
    with pytest.raises(UsageError, match=r"--environment must be an id such as"):
        resolve("smoke", ["--environment", environment])


@pytest.mark.parametrize(
    "environment", ["robot/my-arm.2", 'pkg.envs:ns/Arm-v0?kind="a b"', "minari/a/b-v0"]
)
def test_ids_of_all_kinds_are_accepted(environment: str) -> None:
    assert resolve("smoke", ["--environment", environment]).environment == environment
