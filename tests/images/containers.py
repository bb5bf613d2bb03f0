"""Runs a compiled package like a cluster: each step's own command, in its image, with podman.

It reads the settings of a step from the package like KFP's driver: arguments, artifacts of earlier
steps, environment from Secrets and ConfigMaps, volumes, limits of memory and CPU, user. The root
file system is read-only, and the only network is the one in which the store listens.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qc_core.config.resources import parse_quantity

_BUCKET = "artifacts"


def podman(*command: str) -> str:
    """Run podman and return its output (AssertionError with the output: it failed)."""
    done = subprocess.run(
        ["podman", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, f"podman {' '.join(command[:3])} …\n{done.stdout}"
    return done.stdout.strip()


@dataclass
class Ran:
    """One container that ran: the step's name, podman's arguments, the output."""

    name: str
    command: list[str]
    output: str


@dataclass
class Cluster:
    """Runs a package.

    Attributes:
        package, platform: the two documents of a compiled package.
        folder: replaces the bucket of KFP's artifacts.
        network: podman's option `--network`.
        secrets, settings: values by name and key.
        volumes: paths in every container by host folder.
        run_id: of the run; its name is "a run".
        start: runs the container of a step, from its name and podman's arguments; returns its
            output (AssertionError: it failed).
    """

    package: dict[str, Any]
    platform: dict[str, Any]
    folder: Path
    network: str
    secrets: dict[str, dict[str, str]]
    settings: dict[str, dict[str, str]]
    volumes: dict[Path, str]
    run_id: str
    start: Callable[[str, list[str]], str] = lambda _, command: podman(*command)
    ran: list[Ran] = field(default_factory=list)

    def run(self, parameters: dict[str, Any]) -> None:
        """Run every task; run exit tasks also after a failure."""
        definitions = self.package["root"]["inputDefinitions"]["parameters"]
        defaults = {name: entry.get("defaultValue") for name, entry in definitions.items()}
        given = {**defaults, **parameters}
        for name, entry in definitions.items():
            assert given[name] in entry.get("literals", [given[name]]), name
        self._dag(self.package["root"]["dag"], given, {}, "")

    def container(self, name: str) -> Ran:
        return next(ran for ran in self.ran if ran.name == name)

    def artifact(self, step: str, name: str) -> Path:
        return self.folder / step / name

    def _dag(
        self, dag: dict[str, Any], parameters: dict[str, Any], artifacts: dict[str, Any], place: str
    ) -> dict[str, Any]:
        """Run the tasks of a graph in order; returns their outputs by task."""
        outputs: dict[str, Any] = {}
        waiting = dict(dag["tasks"])
        failure: AssertionError | None = None
        while waiting:
            name = next(
                task
                for task, entry in waiting.items()
                if not set(entry.get("dependentTasks", ())) & set(waiting)
            )
            task = waiting.pop(name)
            always = task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
            if failure is not None and not always:
                continue
            given = self._inputs(task, parameters, artifacts, outputs)
            if not _holds(task.get("triggerPolicy", {}).get("condition"), given[0]):
                continue
            try:
                outputs[name] = self._task(task, *given, parameters, place)
            except AssertionError as error:
                failure = error
        if failure is not None:
            raise failure
        return {"tasks": outputs, "dag": dag}

    def _task(
        self,
        task: dict[str, Any],
        parameters: dict[str, Any],
        artifacts: dict[str, Any],
        around: dict[str, Any],
        place: str,
    ) -> dict[str, Any]:
        """Run a step or a graph; `around` are the parameters of its graph."""
        component = self.package["components"][task["componentRef"]["name"]]
        if "dag" not in component:
            name = component["executorLabel"].removeprefix("exec-")
            return self._step(name + place, component, parameters, artifacts, around)
        loop = task.get("parameterIterator")
        if loop is None:
            return self._outputs(
                component, self._dag(component["dag"], parameters, artifacts, place)
            )
        items = parameters[loop["items"]["inputParameter"]]
        turns = [
            self._outputs(
                component,
                self._dag(
                    component["dag"],
                    {**parameters, loop["itemInput"]: item},
                    artifacts,
                    f"{place}-{index}",
                ),
            )
            for index, item in enumerate(items)
        ]
        return {key: [entry for turn in turns for entry in turn[key]] for key in turns[0]}

    @staticmethod
    def _outputs(component: dict[str, Any], done: dict[str, Any]) -> dict[str, Any]:
        """Return the outputs of a graph, by its selectors."""
        handed = component["dag"].get("outputs", {}).get("artifacts", {})
        return {
            name: done["tasks"][selector["producerSubtask"]][selector["outputArtifactKey"]]
            for name, entry in handed.items()
            for selector in entry["artifactSelectors"]
        }

    def _inputs(
        self,
        task: dict[str, Any],
        parameters: dict[str, Any],
        artifacts: dict[str, Any],
        outputs: dict[str, Any],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        entries = task.get("inputs", {})
        values: dict[str, Any] = {}
        for name, entry in entries.get("parameters", {}).items():
            if "componentInputParameter" in entry:
                # The driver finds only inputs of the graph.
                values[name] = parameters[entry["componentInputParameter"]]
            elif "taskOutputParameter" in entry:
                source = entry["taskOutputParameter"]
                values[name] = outputs[source["producerTask"]][source["outputParameterKey"]]
            elif "taskFinalStatus" in entry:
                # KFP 2.17 has no message. If a pod was killed or a condition is false, the state
                # remains RUNNING.
                values[name] = {
                    "state": "RUNNING",
                    "pipelineJobResourceName": self.run_id,
                    "pipelineTaskName": entry["taskFinalStatus"]["producerTask"],
                    "error": {},
                }
            else:
                constant = entry["runtimeValue"]["constant"]
                # KFP's driver replaces a placeholder only if it is the entire text.
                known = {
                    "{{$.pipeline_job_uuid}}": self.run_id,
                    "{{$.pipeline_job_name}}": "a run",
                }
                assert constant in known or "{{$.pipeline_" not in str(constant), constant
                values[name] = known.get(constant, constant)
        handed: dict[str, Any] = {}
        for name, entry in entries.get("artifacts", {}).items():
            if "componentInputArtifact" in entry:
                handed[name] = artifacts[entry["componentInputArtifact"]]
            else:
                source = entry["taskOutputArtifact"]
                handed[name] = outputs[source["producerTask"]][source["outputArtifactKey"]]
        return values, handed

    def _step(
        self,
        name: str,
        component: dict[str, Any],
        parameters: dict[str, Any],
        artifacts: dict[str, Any],
        around: dict[str, Any],
    ) -> dict[str, Any]:
        """Run one container; return its artifacts and parameters by output name."""
        label = component["executorLabel"]
        container = self.package["deploymentSpec"]["executors"][label]["container"]
        pod = self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][label]
        definitions = component.get("outputDefinitions", {})
        home = self.folder / name
        home.mkdir(parents=True)
        # The user of the container writes here, with another id than the user of the test.
        home.chmod(0o777)
        made = {
            output: [
                {
                    "name": output,
                    "uri": f"s3://{_BUCKET}/{name}/{output}",
                    "type": entry["artifactType"],
                    "metadata": {},
                }
            ]
            for output, entry in definitions.get("artifacts", {}).items()
        }
        place = f"/s3/{_BUCKET}/{name}"
        executor_input = {
            "inputs": {
                "parameterValues": parameters,
                "artifacts": {key: {"artifacts": value} for key, value in artifacts.items()},
            },
            "outputs": {
                "parameters": {
                    output: {"outputFile": f"{place}/{output}"}
                    for output in definitions.get("parameters", {})
                },
                "artifacts": {key: {"artifacts": value} for key, value in made.items()},
                "outputFile": f"{place}/executor_output.json",
            },
        }
        arguments = [
            json.dumps(executor_input) if word == "{{$}}" else word for word in container["args"]
        ]
        command = [
            "run",
            "--rm",
            "--read-only",
            # Podman's own /tmp and /run would hide mounts that are missing in the package.
            "--read-only-tmpfs=false",
            "--network",
            self.network if "secretAsEnv" in pod else "none",
            "--cap-drop=all",
            "--security-opt=no-new-privileges",
            *_limits(container["resources"], parameters),
            *self._pod(name, pod, around),
            f"--volume={self.folder}:/s3/{_BUCKET}:ro",
            f"--volume={home}:{place}",
            *(f"--volume={folder}:{path}" for folder, path in self.volumes.items()),
            "--entrypoint",
            json.dumps(container["command"]),
            container["image"],
            *arguments,
        ]
        try:
            self.ran.append(Ran(name, command, self.start(name, command)))
        except AssertionError as error:
            self.ran.append(Ran(name, command, str(error)))
            raise
        told = json.loads((home / "executor_output.json").read_text())
        return {**made, **told.get("parameterValues", {})}

    def _pod(self, name: str, pod: dict[str, Any], around: dict[str, Any]) -> list[str]:
        """Return podman's arguments for the pod settings in the package's Kubernetes document."""
        user = pod["securityContext"]
        assert user["runAsNonRoot"]
        command = [f"--user={user['runAsUser']}:{user['runAsGroup']}"]
        command += [self._empty_dir(name, mount) for mount in pod["emptyDirMounts"]]
        for kind, values, key in (
            ("configMap", self.settings, "configMapKey"),
            ("secret", self.secrets, "secretKey"),
        ):
            for entry in pod.get(f"{kind}AsEnv", ()):
                name = _resolved(entry[f"{kind}NameParameter"], around)
                if name not in values and entry.get("optional"):
                    continue
                command += [
                    f"--env={pair['envVar']}={values[name][pair[key]]}"
                    for pair in entry["keyToEnv"]
                    if pair[key] in values[name] or not entry.get("optional")
                ]
        for entry in pod.get("secretAsVolume", ()):
            name = _resolved(entry["secretNameParameter"], around)
            if name in self.secrets:
                files = self.folder.parent / name
                files.mkdir(exist_ok=True)
                for key, value in self.secrets[name].items():
                    (files / key).write_text(value)
                command.append(f"--volume={files}:{entry['mountPath']}:ro")
        return command

    def _empty_dir(self, step: str, mount: dict[str, Any]) -> str:
        """Return podman's argument for an empty folder, which is in memory or on disk."""
        path = mount["mountPath"]
        if mount.get("medium") == "Memory":
            return f"--tmpfs={path}:mode=1777"
        folder = self.folder.parent / "empty" / step / path.strip("/")
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        return f"--volume={folder}:{path}"


def _limits(resources: dict[str, str], parameters: dict[str, Any]) -> list[str]:
    """Return podman's arguments for the limits of a container; they may be inputs of the step."""

    def quantity(text: str) -> float:
        named = re.fullmatch(r"\{\{\$\.inputs\.parameters\['(.+)'\]\}\}", text)
        return parse_quantity(parameters[named[1]] if named else text)

    limits = [f"--memory={int(quantity(resources['resourceMemoryLimit']))}"]
    if "resourceCpuLimit" in resources:
        limits.append(f"--cpus={quantity(resources['resourceCpuLimit'])}")
    return limits


def _holds(condition: str | None, parameters: dict[str, Any]) -> bool:
    """Return whether a task's condition is true; the pipeline compares inputs with constants."""
    if condition is None:
        return True
    compared = re.fullmatch(r"inputs\.parameter_values\['(.+)'\] == '(.+)'", condition)
    assert compared, condition
    return parameters[compared[1]] == compared[2]


def _resolved(named: dict[str, Any], around: dict[str, Any]) -> str:
    """Return a name that is an input of the graph, or a constant of the package."""
    if "componentInputParameter" in named:
        return around[named["componentInputParameter"]]
    return named["runtimeValue"]["constant"]
