"""Kubernetes settings of each step's pod: resources, nodes, retries, timeouts, volumes, Secrets.

Settings that users choose per run are inputs of the pipeline. Those of the cluster are fixed when
it is compiled. In KFP 2.17, timeouts, retries and volumes cannot be inputs; `STEPS` has them, and
which step receives which Secret. `kfp.local` ignores all of these settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes

from qc_core.data.formats.claims import CLAIMS_VARIABLE
from qc_core.store.s3_client import DATA

_USER = 1000
_HOUR = 3600
_SETTINGS = "q-chunking"
_CLAIMS_FOLDER = "/mnt/claims"
_SIGNING_FOLDER = "/var/run/q-chunking-signing"
_PART_OF = "app.kubernetes.io/part-of", "q-chunking"
_STEP_LABEL = "q-chunking/step"
# A lost node needs time to be replaced.
_FIRST_RETRY, _BACKOFF = "60s", 2.0
_PATIENCE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Step:
    """Settings of the pod of one step.

    Attributes:
        title: the step's name in the UI, which shows 20 characters.
        hours: timeout of one attempt.
        retries: attempts after the first. Whether Argo repeats a step that failed, a pod that was
            lost with its node, or both, is not in the package: KFP passes only limit and back-off.
            Argo's own defaults have the policy, which `qc cluster connect` sets to Always.
        cpu, memory: requests of a step that does not train: the peak that `benchmarks.step_memory`
            measured, for two processes that play, and a quarter more. A step that asks for more
            than it uses waits in the queue, and reports a typing error only then.
        trains: uses the resources and nodes of the pipeline's inputs, GPUs included.
        study: receives the URL of the tuning study's database.
        webhook: receives the URL that the run status is posted to. The step that completes a run
            posts if the run was repeated after its status had been reported.
        signing: receives the key that signs policies.
        data: reads the sources: receives the keys of their bucket, and mounts their claims.
    """

    title: str
    hours: int
    retries: int
    cpu: str = "1"
    memory: str = "2Gi"
    trains: bool = False
    study: bool = False
    webhook: bool = False
    signing: bool = False
    data: bool = False


_SMALL: Any = {"cpu": "100m", "memory": "512Mi"}
# Of steps that do not train. Environments of other packages may need several times the measured
# memory, and a limit cannot be an input of its own step.
_MEMORY_LIMIT = "8Gi"

STEPS = {
    "configure": Step("Check the inputs", hours=1, retries=1, **_SMALL, study=True, data=True),
    "ingest": Step("Prepare the dataset", hours=24, retries=3, webhook=True, data=True),
    "pretrain": Step("Pretrain offline", hours=96, retries=5, trains=True),
    "tune": Step("Fine-tune online", hours=96, retries=5, trains=True, study=True),
    "select": Step("Select best trial", hours=12, retries=3, study=True),
    "evaluate": Step("Evaluate policies", hours=12, retries=3),
    "export": Step("Export to ONNX", hours=1, retries=3, cpu="500m", memory="1Gi"),
    "promote": Step("Promote if better", hours=12, retries=3, signing=True),
    "report": Step("Write the report", hours=4, retries=3, memory="1Gi", webhook=True),
    "outcome": Step("Report the result", hours=1, retries=3, **_SMALL, webhook=True),
}


@dataclass(frozen=True, slots=True)
class Secrets:
    """Names of the Secrets that steps receive.

    As inputs of the form they could be empty: the driver of a step with an empty name fails, also
    that of the step which reports the failure. A Secret need not exist; a step that needs it says
    so.

    Attributes:
        store: `accesskey` and `secretkey` of the object store.
        study: the `url` of the tuning study's database.
        webhook: the `url` that the run status is posted to.
        signing: `private.pem`, the key that signs policies, and `path`, its path in the pod.
        data: `accesskey`, `secretkey`, `endpoint` and `region` of the sources `s3://…`; what it
            lacks is as for the store.
    """

    store: str = "q-chunking-store"
    study: str = "q-chunking-study"
    webhook: str = "q-chunking-webhook"
    signing: str = "q-chunking-signing"
    data: str = "q-chunking-data"


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of nodes, which training steps tolerate.

    Attributes:
        value: empty tolerates every value.
        effect: NoSchedule, PreferNoSchedule or NoExecute; empty tolerates all of them.
    """

    key: str
    value: str = ""
    effect: str = ""

    @property
    def toleration(self) -> dict[str, str]:
        """The fields of a pod's toleration."""
        fields = {"key": self.key, "value": self.value, "effect": self.effect}
        operator = "Equal" if self.value else "Exists"
        return {"operator": operator, **{name: text for name, text in fields.items() if text}}


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the pipeline must know of the cluster, fixed when it is compiled.

    These are no inputs of the form, because they are the same for all runs of a cluster.

    Attributes:
        gpu_type: resource name under which nodes offer their GPUs.
        tolerated: taints of the nodes to train on.
        claims: names of the volume claims that sources are in. As an input, one could be empty, as
            for Secrets.
    """

    secrets: Secrets = Secrets()
    gpu_type: str = "nvidia.com/gpu"
    tolerated: tuple[Taint, ...] = ()
    claims: tuple[str, ...] = ()


DEFAULT_CLUSTER = Cluster()


@dataclass(frozen=True, slots=True)
class Placement:
    """Inputs of the pipeline that set its pods' resources and nodes, and the cluster's settings.

    Attributes:
        gpus: GPUs per training step; a string, because KFP's driver cannot read numbers.
        cpus, memory: request and limit of a training step, Kubernetes quantities.
        node_selector: of training steps, as in a pod.
    """

    gpus: Any
    cpus: Any
    memory: Any
    node_selector: Any
    cluster: Cluster

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
            task.set_cpu_request(step.cpu).set_memory_request(step.memory)
            task.set_memory_limit(_MEMORY_LIMIT)
        self._set_environment(task, step)
        if step.data and self.cluster.claims:
            task.set_env_variable(CLAIMS_VARIABLE, _CLAIMS_FOLDER)
            for claim in self.cluster.claims:
                kubernetes.mount_pvc(task, claim, f"{_CLAIMS_FOLDER}/{claim}")
        return task

    def _set_training_resources(self, task: dsl.PipelineTask) -> None:
        task.set_accelerator_type(self.cluster.gpu_type).set_accelerator_limit(self.gpus)
        task.set_cpu_request(self.cpus).set_cpu_limit(self.cpus)
        task.set_memory_request(self.memory).set_memory_limit(self.memory)
        kubernetes.add_node_selector_json(task, self.node_selector)
        for taint in self.cluster.tolerated:
            fields: Any = taint.toleration
            kubernetes.add_toleration(task, **fields)
        # Processes exchange tensors through shared memory; a pod's default has 64 MB. This volume
        # counts towards the memory limit.
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory")

    def _set_environment(self, task: dsl.PipelineTask, step: Step) -> None:
        """Refer to settings and Secrets by name: a package contains none of their values.

        Secrets are optional, because a pod would wait for a missing one until its time is over.
        Every step uses the store, at least to leave its error there.
        """
        # A store or a database that restarts must not end a step that starts or saves then.
        task.set_env_variable("QC_S3_TIMEOUT", str(_PATIENCE_SECONDS))
        names = ("QC_STORE", "QC_S3_ENDPOINT", "AWS_REGION")
        kubernetes.use_config_map_as_env(task, _SETTINGS, {name: name for name in names})
        secrets = self.cluster.secrets
        variables = {
            secrets.store: {
                "accesskey": "AWS_ACCESS_KEY_ID",
                "secretkey": "AWS_SECRET_ACCESS_KEY",
            }
        }
        if task.component_spec.name == "configure":
            # For the link from the study to the run. Older ConfigMaps lack it.
            kubernetes.use_config_map_as_env(
                task, _SETTINGS, {"QC_KFP_URL": "QC_KFP_URL"}, optional=True
            )
        if step.study:
            task.set_env_variable("QC_STUDY_TIMEOUT", str(_PATIENCE_SECONDS))
            variables[secrets.study] = {"url": "QC_STUDY_STORAGE"}
        if step.data:
            variables[secrets.data] = {
                "accesskey": DATA.access_key,
                "secretkey": DATA.secret_key,
                "endpoint": DATA.endpoint,
                "region": DATA.region,
            }
        if step.webhook:
            variables[secrets.webhook] = {"url": "QC_WEBHOOK_URL"}
        if step.signing:
            variables[secrets.signing] = {"path": "QC_SIGNING_KEY"}
            kubernetes.use_secret_as_volume(task, secrets.signing, _SIGNING_FOLDER, optional=True)
        for secret, keys in variables.items():
            kubernetes.use_secret_as_env(task, secret, keys, optional=True)
