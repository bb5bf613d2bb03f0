"""A sweep file becomes runs with validated settings, or an error of one line."""

from pathlib import Path

import pytest

from qc_core.config.resolve import resolve
from qc_core.errors import UsageError
from qc_core.sweeps.definition import SweepRun, read_sweep
from tests.train_settings import alpha_of, num_samples_of

SWEEP = """
name: mine
recipes: [cube-double-task1, smoke]
methods: [qc, fql]
seeds: [0, 3]
evaluate-every: 10
episodes: 2
train: {online-steps: 40}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def test_each_run_has_its_method_seed_and_the_recipes_settings_for_it(tmp_path: Path) -> None:
    sweep = read_sweep(write(tmp_path, SWEEP))
    assert len(sweep.runs) == len(set(sweep.runs)) == 8
    assert sweep.runs[:2] == [
        SweepRun("cube-double-task1", "qc", 0),
        SweepRun("cube-double-task1", "fql", 0),
    ]
    config = sweep.config(SweepRun("cube-double-task1", "fql", 3))
    assert (config.seed, config.train.method) == (3, "fql")
    assert (alpha_of(config.train), config.train.online_steps) == (300, 40)
    assert config.environment == "cube-double-singletask-task1-v0"


def test_all_runs_of_a_recipe_share_its_data(tmp_path: Path) -> None:
    sweep = read_sweep(write(tmp_path, SWEEP))
    assert sweep.data_config("smoke").seed == 0
    assert sweep.data_config("smoke").data == sweep.config(SweepRun("smoke", "qc", 3)).data


@pytest.mark.parametrize(
    "train",
    ["{num-samples: 4, alpha: 5}", "{candidates: 4, distillation-weight: 5}"],
)
def test_an_option_applies_to_the_methods_that_have_it(tmp_path: Path, train: str) -> None:
    sweep = read_sweep(write(tmp_path, SWEEP.replace("{online-steps: 40}", train)))
    assert sweep.overrides == ("--train.num-samples", "4", "--train.alpha", "5")
    assert num_samples_of(sweep.config(SweepRun("smoke", "qc", 0)).train) == 4
    assert alpha_of(sweep.config(SweepRun("smoke", "fql", 0)).train) == 5


def test_the_configuration_of_the_data_has_no_options_of_algorithms(tmp_path: Path) -> None:
    text = SWEEP.replace("qc, fql", "qc").replace("online-steps: 40", "num-samples: 4")
    sweep = read_sweep(write(tmp_path, text))
    # The recipe's own method, qc-fql, has no num-samples.
    assert sweep.data_config("smoke") == resolve("smoke")
    assert num_samples_of(sweep.config(SweepRun("smoke", "qc", 0)).train) == 4


def test_an_old_name_of_an_option_that_no_method_has_is_ignored(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = SWEEP.replace("online-steps: 40", "cloning-weight: 4")
    assert read_sweep(write(tmp_path, text)).overrides == ()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "ignoring --train.cloning-weight: it is not an option of qc or fql"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "online-steps: 40",
            "bc-weight: 4",
            "--train.bc-weight is not an option of qc or fql: .* add rlpd or rlpd-ac or qc-rlpd",
        ),
        ("qc, fql", "qc, fqll", "unknown method 'fqll'.*Did you mean fql"),
        ("cube-double-task1", "cube-double-task9", "unknown recipe 'cube-double-task9'"),
        ("[0, 3]", "[0, 0]", "'seeds' has an entry twice"),
        ("[0, 3]", "[]", "'seeds' must have at least one entry"),
        ("[0, 3]", "[0.5]", r"Expected `int`, got `float` - at `\$\.seeds"),
        ("[0, 3]", "0", r"Expected `array`, got `int` - at `\$\.seeds`"),
        ("[0, 3]", "[5000]", "--seed must be in"),
        ("evaluate-every: 10", "evaluate-every: 0", "'evaluate-every' must be at least 1, got 0"),
        ("name: mine", "name: ../mine", "has up to 100"),
        ("online-steps", "onlin-steps", "Did you mean --train.online-steps"),
        ("episodes: 2", "recipe: smoke\nepisodes: 2", "a sweep has 'recipes', not 'recipe'"),
        ("episodes: 2", "episodes: 2\nseed: 1", "a sweep has 'seeds', not 'seed'"),
        ("online-steps: 40", "method: fql", "a sweep has 'methods', not 'train.method'"),
        ("online-steps: 40", "warm-start: champion", "new networks: remove 'train.warm-start"),
        ("cube-double-task1", "mine.yaml", "unknown recipe 'mine.yaml'"),
        ("episodes: 2", "episodes: true", r"Expected `int`, got `bool` - at `\$\.episodes`"),
        ("episodes: 2", "", "missing required field `episodes`"),
        (SWEEP, "- a", "must contain a YAML mapping with a sweep's fields, got list"),
        (SWEEP, "", "must contain a YAML mapping with a sweep's fields, got nothing"),
        ("online-steps: 40", "help: true", "unknown option --train.help"),
        ("episodes: 2", "episodes: 2\nhelp: true", "unknown option --help"),
        ("{online-steps: 40}", "&a {widths: *a}", "an alias .* is inside the value that it names"),
        (SWEEP, "a: [", "cannot read"),
    ],
)
def test_an_invalid_file_is_refused_in_one_line(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        read_sweep(write(tmp_path, SWEEP.replace(before, after)))
    assert "\n" not in str(refusal.value)
