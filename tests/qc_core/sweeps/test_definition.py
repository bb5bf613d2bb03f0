"""A study file becomes runs with checked settings, or one line says why not."""

from pathlib import Path

import pytest

from qc_core.errors import UsageError
from qc_core.sweeps.definition import Job, read_sweep
from tests.train_settings import alpha_of

STUDY = """
name: mine
recipes: [cube-double-task1, smoke]
methods: [qc, fql]
seeds: [0, 3]
evaluate-every: 10
episodes: 2
train: {online-steps: 40}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def test_each_run_has_its_method_seed_and_what_is_tuned_for_it(tmp_path: Path) -> None:
    study = read_sweep(write(tmp_path, STUDY))
    assert len(study.jobs) == len(set(study.jobs)) == 8
    assert study.jobs[:2] == [
        Job("cube-double-task1", "qc", 0),
        Job("cube-double-task1", "fql", 0),
    ]
    config = study.config(Job("cube-double-task1", "fql", 3))
    assert (config.seed, config.train.method) == (3, "fql")
    assert (alpha_of(config.train), config.train.online_steps) == (300, 40)
    assert config.environment == "cube-double-singletask-task1-v0"


def test_all_runs_of_a_recipe_share_its_data(tmp_path: Path) -> None:
    study = read_sweep(write(tmp_path, STUDY))
    assert study.data_config("smoke").seed == 0
    assert study.data_config("smoke").data == study.config(Job("smoke", "qc", 3)).data


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("qc, fql", "qc, fqll", "unknown method 'fqll'.*Did you mean fql"),
        ("cube-double-task1", "cube-double-task9", "unknown recipe 'cube-double-task9'"),
        ("[0, 3]", "[0, 0]", "'seeds' names something twice"),
        ("[0, 3]", "[]", "'seeds' must be a list of at least one int"),
        ("[0, 3]", "[0.5]", "'seeds' must be a list of at least one int"),
        ("[0, 3]", "[5000]", "--seed must be in"),
        ("evaluate-every: 10", "evaluate-every: 0", "'evaluate-every' must be at least 1, got 0"),
        ("name: mine", "name: ../mine", "has up to 100"),
        ("online-steps", "onlin-steps", "Did you mean --train.online-steps"),
        ("episodes: 2", "recipe: smoke\nepisodes: 2", "a study has 'recipes', not 'recipe'"),
        ("episodes: 2", "episodes: 2\nseed: 1", "a study has 'seeds', not 'seed'"),
        ("online-steps: 40", "method: fql", "a study has 'methods', not 'train.method'"),
        ("online-steps: 40", "warm-start: champion", "fresh networks: leave out 'train.warm-start"),
        ("cube-double-task1", "mine.yaml", "unknown recipe 'mine.yaml'"),
        ("episodes: 2", "episodes: true", "'episodes' must be at least 1, got True"),
        ("episodes: 2", "", "'episodes' is missing"),
        (STUDY, "- a", "must hold a YAML mapping with a study's fields, got list"),
        (STUDY, "", "must hold a YAML mapping with a study's fields, got nothing"),
        ("online-steps: 40", "help: true", "unknown option --train.help"),
        ("episodes: 2", "episodes: 2\nhelp: true", "unknown option --help"),
        ("{online-steps: 40}", "&a {widths: *a}", "an alias .* is inside the value that it names"),
        (STUDY, "a: [", "cannot read"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        read_sweep(write(tmp_path, STUDY.replace(before, after)))
    assert "\n" not in str(refusal.value)
