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
from pipeline.form import offer_choices
from pipeline.placement import DEFAULT_SECRETS, Placement, Secrets
from qc_core.config.catalog import recipe_names
from qc_core.config.methods import METHODS
from qc_core.config.resolve import AS_THE_RECIPE

PIPELINE_NAME = "q-chunking"
# Defaults of the form for inputs of type object and list.
ANY_NODE: dict = {}
NO_TAINT: list = []


@cache
def make_pipeline(secrets: Secrets = DEFAULT_SECRETS) -> Any:
    """Return the pipeline, whose steps receive the Secrets of these names."""

    @dsl.pipeline(
        name=PIPELINE_NAME,
        description="Trains a chunk policy on robot episodes, evaluates and publishes it.",
    )
    def q_chunking(
        recipe: str,
        method: str = AS_THE_RECIPE,
        overrides: str = "",
        gpus: str = "0",
        gpu_type: str = "nvidia.com/gpu",
        cpus: str = "2",
        memory: str = "8Gi",
        node_selector: dict = ANY_NODE,
        tolerations: list = NO_TAINT,
        continue_run: str = "",
    ):
        """Trains a chunk policy on robot episodes, evaluates and publishes it.

        Args:
            recipe: Named configuration to start from.
            method: Training method, with the values that the recipe has for it.
            overrides: Options that change the recipe, such as --train.offline-steps 5000 --seed 1.
                `qc run --help` lists them. Tuning varies train.alpha and train.online-learning-rate
                around the configured values.
            gpus: GPUs of each training step; 0 trains on the CPU. A tuning worker uses one.
            gpu_type: Resource name under which nodes offer their GPUs.
            cpus: CPU cores of each training step.
            memory: Memory of each training step, such as 16Gi.
            node_selector: Labels of the nodes to train on, such as {"pool": "gpu"}.
            tolerations: Taints of those nodes to tolerate, such as
                [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}].
            continue_run: Id of an earlier run with the same options. Its dataset, pretraining,
                finished trials and later results are taken over; more trials may be added.
        """
        place = Placement(
            gpu_type=gpu_type,
            gpus=gpus,
            cpus=cpus,
            memory=memory,
            node_selector=node_selector,
            tolerations=tolerations,
            secrets=secrets,
        ).place
        # KFP's driver replaces a placeholder only if it is the entire text of an argument.
        run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER

        run_name = dsl.PIPELINE_JOB_NAME_PLACEHOLDER
        exit_task = place(outcome(run_id=run_id, run_name=run_name, recipe=recipe))
        with dsl.ExitHandler(exit_task=exit_task, name="From episodes to a policy"):
            configured = place(
                configure(
                    recipe=recipe,
                    method=method,
                    overrides=overrides,
                    run_id=run_id,
                    gpu_type=gpu_type,
                    gpus=gpus,
                    cpus=cpus,
                    memory=memory,
                    node_selector=node_selector,
                    tolerations=tolerations,
                    continue_run=continue_run,
                )
            )
            config = configured.outputs["config"]
            ingested = place(ingest(config=config, run_id=run_id))
            dataset = ingested.outputs["dataset"]
            held_out = ingested.outputs["held_out"]
            # A retraining without new data ends here.
            with dsl.If(ingested.outputs["Output"] == "train", name="If there is new data"):
                offline = place(
                    pretrain(
                        config=config,
                        dataset=dataset,
                        run_id=run_id,
                        gpu_type=gpu_type,
                        gpus=gpus,
                        cpus=cpus,
                        memory=memory,
                    )
                ).outputs["checkpoint"]
                workers = configured.outputs["Output"]
                # The loop must have no name of its own: KFP's Collected would not find it.
                with dsl.ParallelFor(items=workers) as worker:
                    tuned = place(
                        tune(
                            config=config,
                            dataset=dataset,
                            checkpoint=offline,
                            worker=worker,
                            run_id=run_id,
                            gpu_type=gpu_type,
                            gpus=gpus,
                            cpus=cpus,
                            memory=memory,
                        )
                    )
                best = place(
                    select(
                        trials=dsl.Collected(tuned.outputs["trials"]),
                        offline=offline,
                        run_id=run_id,
                    )
                )
                online = best.outputs["checkpoint"]
                evaluation = place(
                    evaluate(
                        config=config,
                        held_out=held_out,
                        offline=offline,
                        online=online,
                        run_id=run_id,
                    )
                ).outputs["evaluation"]
                policy = place(
                    export(checkpoint=online, evaluation=evaluation, run_id=run_id)
                ).outputs["policy"]
                promotion = place(
                    promote(
                        config=config,
                        held_out=held_out,
                        policy=policy,
                        checkpoint=online,
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

    offer_choices(q_chunking, {"recipe": recipe_names(), "method": [AS_THE_RECIPE, *METHODS]})
    return q_chunking
