"""Where each step's pod runs and what it is given: everything that is Kubernetes', in one place.

What a person chooses for a run are inputs of the pipeline. Timeouts, retries and volumes cannot be
inputs in KFP 2.17 and stand in `STEPS`; so does which step is given which Secret. `kfp.local`
ignores all of it.
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
# A node that was taken away is rarely back at once.
_FIRST_RETRY, _BACKOFF = "60s", 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """What the pod of one step needs.

    Attributes:
        title: the step's name in the UI.
        hours: after which an attempt is ended.
        retries: attempts after the first. Argo retries what failed, as a pod does that is evicted;
            one that vanishes with its node is an error to it, which KFP gives no way to retry.
        learns: runs where the inputs say, on a GPU if they ask for one.
        store: may use the object store.
        study: may use the database of the tuning study.
        webhook, signing: may use the address of a chat, the key that policies are signed with.
    """

    title: str
    hours: int
    retries: int
    learns: bool = False
    store: bool = False
    study: bool = False
    webhook: bool = False
    signing: bool = False


STEPS = {
    "configure": Step("Check what was asked for", hours=1, retries=1, store=True, study=True),
    "ingest": Step("Bring in the episodes", hours=24, retries=3, store=True),
    "pretrain": Step("Learn from them offline", hours=96, retries=5, learns=True, store=True),
    "tune": Step("Fine-tune online", hours=96, retries=5, learns=True, store=True, study=True),
    "select": Step("Pick the best trial", hours=1, retries=3, store=True, study=True),
    "evaluate": Step("Compare on unseen episodes", hours=12, retries=3),
    "export": Step("Write the policy as ONNX", hours=1, retries=3),
    "promote": Step(
        "Promote it if it beats the champion",
        hours=12,
        retries=3,
        store=True,
        signing=True,
    ),
    "report": Step("Write the report", hours=4, retries=3, store=True),
    "outcome": Step("Tell how it ended", hours=1, retries=3, store=True, webhook=True),
}


@dataclass(frozen=True, slots=True)
class Placement:
    """What a run's inputs say of its pods; each field is an input of the pipeline.

    Attributes:
        gpu_type: resource that a node offers its GPUs as.
        gpus: per learning step, a string: the driver reads numbers from strings alone.
        cpus, memory: request and limit of a step that learns, Kubernetes quantities.
        node_selector, tolerations: of steps that learn, as in a pod.
        store_secret: name of the Secret with `accesskey` and `secretkey`.
        study_secret: name of the Secret with the `url` of the study's database.
        webhook_secret: name of the Secret with the `url` that outcomes are sent to.
        signing_secret: name of the Secret with `private.pem` and the `path` where steps see it.
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
        """Give a task what `STEPS` says of its component, and return it."""
        step = STEPS[task.component_spec.name]
        task.set_display_name(step.title)
        # KFP knows inputs by the ids of their artifacts, which are new in each run: it would never
        # find what it has kept.
        task.set_caching_options(False)
        # To Argo this is no pause but a deadline for all attempts, from the start of the first.
        deadline = (step.hours + 1) * (step.retries + 1) * _HOUR
        task.set_retry(step.retries, _FIRST_RETRY, _BACKOFF, f"{deadline}s")
        kubernetes.set_timeout(task, step.hours * _HOUR)
        kubernetes.add_pod_label(task, *_PART_OF)
        # By which manifests/parts/service-accounts gives each step an account of its own: KFP 2.17
        # has one for the run.
        kubernetes.add_pod_label(task, _STEP_LABEL, task.component_spec.name)
        kubernetes.set_security_context(
            task, run_as_user=_USER, run_as_group=_USER, run_as_non_root=True
        )
        # All that a step writes to, so that its root may be read-only.
        kubernetes.empty_dir_mount(task, "tmp", "/tmp")
        kubernetes.empty_dir_mount(task, "home", "/home/qc")
        if step.learns:
            self._for_learning(task)
        else:
            task.set_cpu_request("1").set_memory_request("2Gi").set_memory_limit("8Gi")
        self._environment(task, step)
        return task

    def _for_learning(self, task: dsl.PipelineTask) -> None:
        task.set_accelerator_type(self.gpu_type).set_accelerator_limit(self.gpus)
        task.set_cpu_request(self.cpus).set_cpu_limit(self.cpus)
        task.set_memory_request(self.memory).set_memory_limit(self.memory)
        kubernetes.add_node_selector_json(task, self.node_selector)
        kubernetes.add_toleration_json(task, self.tolerations)
        # Processes pass tensors through it, and a pod's own has 64 MB; it counts as memory.
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory")

    def _environment(self, task: dsl.PipelineTask, step: Step) -> None:
        """Settings and secrets by name; their values are in no package."""
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
