"""The report names the command and the cost of a run."""

from qc_core.config.resolve import resolve
from qc_core.report.provenance import command_of, cost_rows
from qc_core.results.step_cost import StepCost
from qc_core.tuning.trials import StudyHistory


def test_the_command_repeats_the_configuration() -> None:
    argv = ["--train.method", "qc", "--seed", "3", "--train.hidden-dims", "8", "16"]
    config = resolve("smoke", argv)
    command = command_of(config)
    assert command == "qc run smoke --train.method qc --seed 3 --train.hidden-dims 8 16"
    assert resolve("smoke", command.split()[3:]) == config
    assert command_of(resolve("smoke")) == "qc run smoke"


def test_cost_shows_time_rate_and_energy() -> None:
    config = resolve("smoke", ["--train.offline-steps", "500"])

    def cost(step: str, attempts: int, seconds: float, joules: float | None = None) -> StepCost:
        return StepCost(
            step=step,
            worker="",
            attempts=attempts,
            seconds=seconds,
            hardware="a CPU, 2 cores",
            ended="",
            gpu_joules=joules,
        )

    costs = [cost("ingest", 1, 3.2), cost("pretrain", 2, 10.0, 7200.0)]
    assert cost_rows(costs, config, StudyHistory(best_trial=None, trials=[])) == [
        ("ingest", "3 s", "–", "a CPU, 2 cores", "–"),
        ("pretrain, 2 attempts", "10 s", "50 updates/s", "a CPU, 2 cores", "2.00 Wh"),
    ]
