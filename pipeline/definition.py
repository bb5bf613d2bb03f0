# pyright: reportCallIssue=false
# kfp supplies the output arguments of a component; pyright reports them as missing.
"""The pipeline: ingest → pretrain → tune → evaluate → export → promote → report."""

from functools import cache
from typing import Any

from kfp import dsl

from components.configure.component import configure
from components.evaluate.component import evaluate
from components.export.component import export
from components.ingest.component import ingest
from components.outcome.component import outcome
from components.pretrain.component import pretrain
from components.promote.component import promote
from components.report.component import report
from components.select.component import select
from components.tune.component import tune
from pipeline.form import DESCRIPTION, fill_form
from pipeline.graph import remove_redundant_edges
from pipeline.placement import DEFAULT_CLUSTER, Cluster, Placement
from qc_core.config.resolve import AS_THE_RECIPE
from qc_core.config.resources import DEFAULT_CPUS

PIPELINE_NAME = "q-chunking"
# Names of graphs, which KFP's UI cuts after 17 characters.
_ALL_STEPS, _TRAINING = "Train a policy", "If new data"
# Default of the form for an input of type object.
ANY_NODE: dict = {}


@cache
def make_pipeline(cluster: Cluster = DEFAULT_CLUSTER) -> Any:
    """Return the pipeline for a cluster with these settings."""

    @dsl.pipeline(name=PIPELINE_NAME, description=DESCRIPTION)
    def q_chunking(
        recipe: str,
        resources_memory: str,
        recipe_method: str = AS_THE_RECIPE,
        recipe_overrides: str = "",
        resources_cpus: str = DEFAULT_CPUS,
        resources_gpus: str = "0",
        resources_node_selector: dict = ANY_NODE,
        continue_run: str = "",
    ):
        """Trains a chunk policy on robot episodes, evaluates and publishes it."""
        gpus, cpus, memory = resources_gpus, resources_cpus, resources_memory
        place = Placement(
            gpus=gpus,
            cpus=cpus,
            memory=memory,
            node_selector=resources_node_selector,
            cluster=cluster,
        ).place
        # KFP's driver replaces a placeholder only if it is the entire text of an argument.
        run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER

        run_name = dsl.PIPELINE_JOB_NAME_PLACEHOLDER
        exit_task = place(outcome(run_id=run_id, run_name=run_name, recipe=recipe))
        with dsl.ExitHandler(exit_task=exit_task, name=_ALL_STEPS):
            configured = place(
                configure(
                    recipe=recipe,
                    method=recipe_method,
                    overrides=recipe_overrides,
                    run_id=run_id,
                    gpus=gpus,
                    cpus=cpus,
                    memory=memory,
                    node_selector=resources_node_selector,
                    continue_run=continue_run,
                )
            )
            config = configured.outputs["config"]
            ingested = place(ingest(config=config, run_id=run_id))
            dataset = ingested.outputs["dataset"]
            held_out = ingested.outputs["held_out"]
            # A retraining without new data ends here.
            with dsl.If(ingested.outputs["decision"] == "train", name=_TRAINING):
                offline = place(
                    pretrain(
                        config=config,
                        dataset=dataset,
                        run_id=run_id,
                        gpus=gpus,
                        cpus=cpus,
                        memory=memory,
                    )
                ).outputs["checkpoint"]
                workers = configured.outputs["workers"]
                # The loop must have no name of its own: KFP's Collected would not find it.
                with dsl.ParallelFor(items=workers) as worker:
                    tuned = place(
                        tune(
                            config=config,
                            dataset=dataset,
                            checkpoint=offline,
                            worker=worker,
                            run_id=run_id,
                            gpus=gpus,
                            cpus=cpus,
                            memory=memory,
                        )
                    )
                best = place(
                    select(
                        config=config,
                        trials=dsl.Collected(tuned.outputs["trials"]),
                        offline=offline,
                        run_id=run_id,
                    )
                )
                selected = best.outputs["checkpoint"]
                evaluation = place(
                    evaluate(
                        config=config,
                        held_out=held_out,
                        offline=offline,
                        online=best.outputs["best_trial"],
                        run_id=run_id,
                    )
                ).outputs["evaluation"]
                policy = place(
                    export(checkpoint=selected, evaluation=evaluation, run_id=run_id)
                ).outputs["policy"]
                promotion = place(
                    promote(
                        config=config,
                        held_out=held_out,
                        policy=policy,
                        checkpoint=selected,
                        run_id=run_id,
                    )
                ).outputs["promotion"]
                place(
                    report(
                        config=config,
                        dataset=dataset,
                        offline=offline,
                        history=best.outputs["history"],
                        evaluation=evaluation,
                        policy=policy,
                        promotion=promotion,
                        run_id=run_id,
                    )
                )

    fill_form(q_chunking)
    remove_redundant_edges(q_chunking)
    return q_chunking
