# pyright: reportCallIssue=false
# kfp supplies the outputs of a component, which pyright takes for missing arguments.
"""The pipeline: ingest → pretrain → tune → evaluate → export → promote → report."""

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
from pipeline.placement import Placement
from qc_core.config.catalog import recipe_names
from qc_core.config.methods import METHODS
from qc_core.config.resolve import AS_THE_RECIPE

PIPELINE_NAME = "q-chunking"
# What the form has for inputs that nobody fills in.
ANY_NODE: dict = {}
NO_TAINT: list = []


@dsl.pipeline(
    name=PIPELINE_NAME,
    description="From a data set of robot episodes to a deployed chunk policy.",
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
    store_secret: str = "q-chunking-store",
    study_secret: str = "q-chunking-study",
    webhook_secret: str = "q-chunking-webhook",
    signing_secret: str = "q-chunking-signing",
):
    """From a data set of robot episodes to a deployed chunk policy.

    Args:
        recipe: Named configuration to start from.
        method: What learns, with the values that the recipe has for it.
        overrides: Options that change the recipe, such as --train.offline-steps 5000 --seed 1.
            `qc run --help` lists them.
        gpus: GPUs of each step that learns; 0 learns on the CPU. A worker of the tuning uses one.
        gpu_type: Resource name under which nodes offer their GPUs.
        cpus: Cores of each step that learns.
        memory: Memory of each step that learns, such as 16Gi.
        node_selector: Labels of the nodes to learn on, such as {"pool": "gpu"}.
        tolerations: Taints of those nodes to put up with, such as
            [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}].
        store_secret: Name of the Secret with the object store's accesskey and secretkey.
        study_secret: Name of the Secret with the url of the tuning study's database.
        webhook_secret: Name of the Secret with the url that the outcome is sent to. There need not
            be such a Secret, but the name must stand here.
        signing_secret: Name of the Secret with the key that policies are signed with, and its
            path. There need not be such a Secret, but the name must stand here.
    """
    place = Placement(
        gpu_type=gpu_type,
        gpus=gpus,
        cpus=cpus,
        memory=memory,
        node_selector=node_selector,
        tolerations=tolerations,
        store_secret=store_secret,
        study_secret=study_secret,
        webhook_secret=webhook_secret,
        signing_secret=signing_secret,
    ).place
    # KFP's driver knows a placeholder only where it is the whole text.
    run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER

    ending = place(outcome(run_id=run_id, run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER, recipe=recipe))
    with dsl.ExitHandler(exit_task=ending, name="From episodes to a policy"):
        configured = place(
            configure(
                recipe=recipe,
                method=method,
                overrides=overrides,
                run_id=run_id,
                gpus=gpus,
                cpus=cpus,
                memory=memory,
                webhook_secret=webhook_secret,
                signing_secret=signing_secret,
            )
        )
        config = configured.outputs["config"]
        ingested = place(ingest(config=config, run_id=run_id))
        dataset = ingested.outputs["dataset"]
        # A retraining that finds nothing new ends here.
        with dsl.If(ingested.outputs["Output"] == "train", name="If there is something to learn"):
            offline = place(
                pretrain(
                    config=config,
                    dataset=dataset,
                    gpu_type=gpu_type,
                    gpus=gpus,
                    cpus=cpus,
                    memory=memory,
                )
            ).outputs["checkpoint"]
            workers = configured.outputs["Output"]
            # A loop with a name of its own is one that Collected does not find on KFP's server.
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
                    run_id=run_id,
                )
            )
            online = best.outputs["checkpoint"]
            evaluation = place(evaluate(config=config, offline=offline, online=online)).outputs[
                "evaluation"
            ]
            policy = place(export(checkpoint=online, evaluation=evaluation)).outputs["policy"]
            promotion = place(
                promote(config=config, policy=policy, checkpoint=online, run_id=run_id)
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
