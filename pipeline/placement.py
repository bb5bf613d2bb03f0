"""Kubernetes settings of each step's pod: resources, nodes, retries, timeouts, volumes, Secrets.

Settings that users choose per run are inputs of the pipeline. In KFP 2.17, timeouts, retries and
volumes cannot be inputs; `STEPS` has them, and which step receives which Secret. `kfp.local`
ignores all of these settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes

_USER = 1000
_HOUR = 3600
_SETTINGS = "q-chunking"
_SIGNING_FOLDER = "/var/run/q-chunking-signing"
_PART_OF = "app.kubernetes.io/part-of", "q-chunking"
_STEP_LABEL = "q-chunking/step"
# A lost node needs time to be replaced.
_FIRST_RETRY, _BACKOFF = "60s", 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """Settings of the pod of one step.

    Attributes:
        title: the step's name in the UI.
        hours: timeout of one attempt.
        retries: attempts after the first. Whether Argo repeats a step that failed, a pod that was
            lost with its node, or both, is not in the package: KFP passes only limit and back-off.
            Argo's own defaults have the policy, which `qc cluster connect` sets to Always.
        trains: uses the resources and nodes of the pipeline's inputs, GPUs included.
        store: receives the credentials of the object store.
        study: receives the URL of the tuning study's database.
        webhook: receives the URL that the run status is posted to.
        signing: receives the key that signs policies.
    """

    title: str
    hours: int
    retries: int
    trains: bool = False
    store: bool = False
    study: bool = False
    webhook: bool = False
    signing: bool = False


STEPS = {
    "configure": Step("Check the inputs", hours=1, retries=1, store=True, study=True),
    "ingest": Step("Prepare the dataset", hours=24, retries=3, store=True),
    "pretrain": Step("Pretrain offline", hours=96, retries=5, trains=True, store=True),
    "tune": Step("Fine-tune online", hours=96, retries=5, trains=True, store=True, study=True),
    "select": Step("Select the best trial", hours=1, retries=3, store=True, study=True),
    "evaluate": Step("Compare on unseen episodes", hours=12, retries=3),
    "export": Step("Export the policy to ONNX", hours=1, retries=3),
    "promote": Step(
        "Promote it if it beats the champion",
        hours=12,
        retries=3,
        store=True,
        signing=True,
    ),
    "report": Step("Write the report", hours=4, retries=3, store=True),
    "outcome": Step("Report the run status", hours=1, retries=3, store=True, webhook=True),
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Inputs of the pipeline that set its pods' resources, nodes and Secrets.

    Attributes:
        gpu_type: resource name of the GPUs on a node.
        gpus: GPUs per training step; a string, because KFP's driver cannot read numbers.
        cpus, memory: request and limit of a training step, Kubernetes quantities.
        node_selector, tolerations: of training steps, as in a pod.
        store_secret: name of the Secret with `accesskey` and `secretkey`.
        study_secret: name of the Secret with the `url` of the study's database.
        webhook_secret: name of the Secret with the `url` that the run status is posted to.
        signing_secret: name of the Secret with `private.pem` and `path`, the key's path in the pod.
    """

    gpu_type: Any
    gpus: Any
    cpus: Any
    memory: Any
    node_selector: Any
    tolerations: Any
    store_secret: Any
    study_secret: Any
    webhook_secret: Any
    signing_secret: Any

    def place(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Apply these inputs and the settings in `STEPS` to a task, and return it."""
        step = STEPS[task.component_spec.name]
        task.set_display_name(step.title)
        # KFP's cache identifies inputs by artifact id. The ids are new in each run, so the cache
        # would never hit.
        task.set_caching_options(False)
        # Argo takes the maximum back-off as a deadline for all attempts, from the first start.
        deadline = (step.hours + 1) * (step.retries + 1) * _HOUR
        task.set_retry(step.retries, _FIRST_RETRY, _BACKOFF, f"{deadline}s")
        kubernetes.set_timeout(task, step.hours * _HOUR)
        kubernetes.add_pod_label(task, *_PART_OF)
        # manifests/parts/service-accounts selects the account of each step by this label: KFP 2.17
        # has only one account per run.
        kubernetes.add_pod_label(task, _STEP_LABEL, task.component_spec.name)
        kubernetes.set_security_context(
            task, run_as_user=_USER, run_as_group=_USER, run_as_non_root=True
        )
        # Steps write only to these folders, so that the root file system may be read-only.
        kubernetes.empty_dir_mount(task, "tmp", "/tmp")
        kubernetes.empty_dir_mount(task, "home", "/home/qc")
        if step.trains:
            self._set_training_resources(task)
        else:
            task.set_cpu_request("1").set_memory_request("2Gi").set_memory_limit("8Gi")
        self._set_environment(task, step)
        return task

    def _set_training_resources(self, task: dsl.PipelineTask) -> None:
        task.set_accelerator_type(self.gpu_type).set_accelerator_limit(self.gpus)
        task.set_cpu_request(self.cpus).set_cpu_limit(self.cpus)
        task.set_memory_request(self.memory).set_memory_limit(self.memory)
        kubernetes.add_node_selector_json(task, self.node_selector)
        kubernetes.add_toleration_json(task, self.tolerations)
        # Processes exchange tensors through shared memory; a pod's default has 64 MB. This volume
        # counts towards the memory limit.
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory")

    def _set_environment(self, task: dsl.PipelineTask, step: Step) -> None:
        """Refer to settings and Secrets by name: a package contains none of their values."""
        if step.store:
            names = ("QC_STORE", "QC_S3_ENDPOINT", "AWS_REGION")
            kubernetes.use_config_map_as_env(task, _SETTINGS, {name: name for name in names})
            kubernetes.use_secret_as_env(
                task,
                self.store_secret,
                {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"},
            )
        if step.study:
            kubernetes.use_secret_as_env(task, self.study_secret, {"url": "QC_STUDY_STORAGE"})
        if step.webhook:
            kubernetes.use_secret_as_env(
                task, self.webhook_secret, {"url": "QC_WEBHOOK_URL"}, optional=True
            )
        if step.signing:
            kubernetes.use_secret_as_volume(
                task, self.signing_secret, _SIGNING_FOLDER, optional=True
            )
            kubernetes.use_secret_as_env(
                task, self.signing_secret, {"path": "QC_SIGNING_KEY"}, optional=True
            )
