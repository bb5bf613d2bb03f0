"""Recipes and overrides give one checked configuration, or one line that says why not."""

from pathlib import Path

import pytest

from qc_core.errors import WrongUse
from qc_core.recipes.catalog import RECIPES
from qc_core.recipes.resolve import as_config, expand, resolve, to_mapping


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_resolves_and_survives_being_saved(name: str) -> None:
    config = resolve(name)
    assert config.recipe == name
    assert as_config(to_mapping(config), "saved") == config


def test_overrides_change_what_they_name() -> None:
    config = resolve(
        "smoke",
        ["--train.offline-steps", "7", "--train.widths", "3", "4", "--data", "x.npz", "--seed=5"],
    )
    assert (config.train.offline_steps, config.train.widths) == (7, (3, 4))
    assert (config.data.source, config.seed) == ("x.npz", 5)
    assert config.train.batch_size == RECIPES["smoke"].config.train.batch_size


def test_a_file_names_a_recipe_and_overrides_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "recipe: smoke\nseed: 3\ntrain:\n  offline-steps: 9\n  widths: [8, 8]\n"
        "  normalize-observations: false\n"
    )
    config = resolve(str(path), ["--seed", "4"])
    assert (config.recipe, config.seed) == ("smoke", 4)
    assert (config.train.offline_steps, config.train.widths) == (9, (8, 8))
    assert not config.train.normalize_observations
    name, words = expand(str(path), ["--seed", "4"])
    assert resolve(name, words) == config


@pytest.mark.parametrize(
    ("recipe", "words", "message"),
    [
        ("smok", [], "unknown recipe 'smok'.* Did you mean smoke?"),
        ("smoke", ["--train.ofline-steps", "3"], r"Did you mean --train\.offline-steps\?"),
        ("smoke", ["--train.offline-steps", "x"], "--train.offline-steps.*'x'"),
        ("smoke", ["--train.offline-steps"], "--train.offline-steps"),
        ("smoke", ["--train.method", "qcfql"], "unknown method 'qcfql'.*qc-fql"),
        ("smoke", ["--train.horizon", "0"], "--train.horizon must be at least 1, got 0"),
        ("smoke", ["--train.discount", "1.5"], r"--train.discount must be in \(0, 1\], got 1.5"),
        ("smoke", ["--train.learning-rate", "nan"], "--train.learning-rate"),
        ("smoke", ["--train.widths", "8", "0"], "--train.widths"),
        ("smoke", ["--seed", "-1"], "--seed must be in .0, 1024., got -1"),
        ("smoke", ["--evaluate.execution-horizon", "6"], "must be at most 5, .* got 6"),
        ("smoke", ["--evaluate.execution-horizon", "-1"], "must be at least 0, got -1"),
        (
            "smoke",
            ["--evaluate.execution-horizon", "2", "--train.method", "fql"],
            "--evaluate.execution-horizon must be at most 1, .* got 2",
        ),
        ("none.yaml", [], "cannot read recipe file none.yaml"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(recipe: str, words: list[str], message: str) -> None:
    with pytest.raises(WrongUse, match=message) as refusal:
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
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(WrongUse, match=r"x\.yaml") as refusal:
        resolve(str(tmp_path / "x.yaml"))
    assert "\n" not in str(refusal.value)


def test_a_name_that_no_store_could_keep_is_refused_at_once() -> None:
    with pytest.raises(WrongUse, match="got 'My Policy'"):
        resolve("smoke", ["--publish.name", "My Policy"])
