# pyright: reportCallIssue=false
# kfp supplies the outputs of a component, which pyright takes for missing arguments.
"""The pipeline: ingest → pretrain → tune → evaluate → export → promote → report."""

from typing import NamedTuple

from kfp import dsl

from components.configure.component import configure
from components.evaluate.component import evaluate
from components.export.component import export
from components.ingest.component import ingest
from components.pretrain.component import pretrain
from components.promote.component import promote
from components.report.component import report
from components.select.component import select
from components.tune.component import tune

PIPELINE_NAME = "q-chunking"


class Outputs(NamedTuple):
    """What a finished run leaves for people."""

    policy: dsl.Model
    report: dsl.HTML
    evaluation: dsl.Artifact
    promotion: dsl.Artifact


@dsl.pipeline(
    name=PIPELINE_NAME,
    description="From a data set of robot episodes to a deployed chunk policy.",
)
def q_chunking(recipe: str, overrides: str = "", study_storage: str = "") -> Outputs:
    """From a data set of robot episodes to a deployed chunk policy.

    Args:
        recipe: Named configuration to start from.
        overrides: Options that change it, such as --train.offline-steps 5000 --seed 1.
        study_storage: Path of the tuning study's journal on one machine; leave empty to use
            the database that the cluster names in QC_STUDY_STORAGE.
    """
    study_name = f"q-chunking-{dsl.PIPELINE_JOB_ID_PLACEHOLDER}"
    configured = configure(
        recipe=recipe, overrides=overrides, study_name=study_name, study_storage=study_storage
    )
    config = configured.outputs["config"]
    data = ingest(config=config)
    offline = pretrain(config=config, dataset=data.output)
    with dsl.ParallelFor(items=configured.outputs["Output"], name="tune-workers") as worker:
        tuned = tune(
            config=config,
            dataset=data.output,
            checkpoint=offline.output,
            worker=worker,
            study_name=study_name,
            study_storage=study_storage,
        )
    best = select(
        trials=dsl.Collected(tuned.output), study_name=study_name, study_storage=study_storage
    )
    online = best.outputs["checkpoint"]
    compared = evaluate(config=config, offline=offline.output, online=online)
    policy = export(checkpoint=online, evaluation=compared.outputs["evaluation"])
    promotion = promote(config=config, policy=policy.output)
    page = report(
        config=config,
        dataset=data.output,
        offline=offline.output,
        history=best.outputs["history"],
        evaluation=compared.outputs["evaluation"],
        policy=policy.output,
        promotion=promotion.output,
    )
    return Outputs(
        policy=policy.output,
        report=page.output,
        evaluation=compared.outputs["evaluation"],
        promotion=promotion.output,
    )
