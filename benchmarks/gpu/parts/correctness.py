"""Does the product compute the same on the GPU: against the CPU, in graphs, in bfloat16?"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu import product
from benchmarks.gpu.context import Context, NotMeasured
from benchmarks.gpu.sizes import sizes

# One float32 update on two devices differs by rounding, also in sums over a batch: relative to the
# largest loss and to the norm of each gradient.
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
# Adam's first step has the size of the learning rate whatever the gradient's size, so rounding can
# move a weight whose gradient is near zero the other way. All others agree.
WEIGHT_TOLERANCE, WEIGHT_SHARE = 1e-5, 0.999
# Mean losses over 200 updates; bfloat16 has three digits.
BFLOAT16_TOLERANCE = 0.05
_UPDATES, _GRAPH_UPDATES = 200, 50

_RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 3'/><geom size='.2' rgba='1 0 0 1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 64, 64) as renderer:
    renderer.update_scene(data)
    image = renderer.render()
assert image.max() > 0, "the image is black"
print("renders an image")
"""
_SIMULATE = """
from qc_core.envs.make import make_environment
environment = make_environment("cube-single-singletask-task1-v0")
environment.reset(seed=0)
for _ in range(10):
    environment.step(environment.action_space.sample())
print("steps an environment")
"""


# Where NVIDIA's driver describes its EGL library, if that is not among the system's own.
_EGL_VENDOR = Path("/usr/local/nvidia/share/glvnd/egl_vendor.d/10_nvidia.json")


def run(context: Context) -> None:
    context.record("device", _device_name(context.device))
    # Other processes check what needs no GPU time meanwhile: nothing here is timed.
    checks: dict[str, Callable[[], str]] = {
        "JAX devices": _jax_devices,
        "MuJoCo": lambda: _python(_SIMULATE),
        "EGL rendering": _rendering,
    }
    with ThreadPoolExecutor(len(checks)) as pool:
        found = {what: pool.submit(check) for what, check in checks.items()}
        _updates(context)
    for what, answer in found.items():
        with context.attempt(what):
            context.record(what, answer.result())


def _updates(context: Context) -> None:
    for method in product.METHODS:
        with context.attempt("one update against the CPU", method=method):
            context.require(3)
            _against_cpu(context, method)
    for method in product.METHODS:
        with context.attempt("CUDA graphs against eager updates", method=method):
            context.require(4)
            _graphs(context, method)
    for method in ("qc", "qc-fql"):
        with context.attempt("bfloat16 against float32", method=method):
            context.require(6)
            _bfloat16(context, method)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, no GPU here"


def _python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    last = lines[-1] if lines else f"exit code {done.returncode}"
    if done.returncode:
        raise RuntimeError(last)
    return last


def _jax_devices() -> str:
    if importlib.util.find_spec("jax") is None:
        raise NotMeasured("not measured: jax is not installed")
    return _python("import jax; print(jax.devices())")


def _rendering() -> str:
    """Whether MuJoCo renders with EGL; no other measurement needs it."""
    try:
        return _python(_RENDER, MUJOCO_GL="egl")
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        if not _EGL_VENDOR.exists():
            return f"does not work: {str(error)[:200]}"
    try:
        vendor = {"__EGL_VENDOR_LIBRARY_FILENAMES": str(_EGL_VENDOR)}
        return f"{_python(_RENDER, MUJOCO_GL='egl', **vendor)}, with {_EGL_VENDOR}"
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return f"does not work: {str(error)[:200]}"


def _against_cpu(context: Context, method: str) -> None:
    """One float32 update with the same weights, windows and noise on both devices."""
    size = sizes(context.tiny)
    network = next(iter(size.networks.values()))
    settings = product.config(method, network, size.batches[0])
    found = []
    for device, kind in ((torch.device("cpu"), product.EAGER), (context.device, product.FLOAT32)):
        agent = product.new_agent(settings, device)
        product.use_kernels(agent, device, kind)
        source = product.new_agent(settings, torch.device("cpu"))
        windows, noise = product.random_batch(source, settings, seed=1)
        info = agent.update(product.to_device(windows, device), product.to_device(noise, device))
        found.append((_on_cpu(info), product.gradients(agent), _on_cpu(agent.state_dict())))
    (info, gradients, weights), (other_info, other_gradients, other_weights) = found
    loss = max(
        float(abs(other_info[name] - info[name]) / max(1.0, abs(info[name]))) for name in info
    )
    gradient = max(
        float((other_gradients[name] - gradients[name]).norm() / gradients[name].norm())
        for name in gradients
        if gradients[name].norm() > 0
    )
    differences = torch.cat(
        [(other_weights[name] - weights[name]).abs().flatten() for name in weights]
    )
    share = float((differences <= WEIGHT_TOLERANCE).float().mean())
    labels: dict[str, Any] = {"method": method}
    context.record("one update: losses differ by", loss, limit=LOSS_TOLERANCE, **labels)
    context.record("one update: gradients differ by", gradient, limit=GRADIENT_TOLERANCE, **labels)
    context.record("one update: weights within 1e-5", share, limit=WEIGHT_SHARE, **labels)
    passed = loss <= LOSS_TOLERANCE and gradient <= GRADIENT_TOLERANCE and share >= WEIGHT_SHARE
    if not passed:
        raise RuntimeError("the GPU's update differs from the CPU's by more than the tolerance")


def _graphs(context: Context, method: str) -> None:
    """Recorded updates give the same bits as eager ones from the same seed, in one stream."""
    size = sizes(context.tiny)
    network = next(iter(size.networks.values()))
    dataset = context.dataset()
    states = []
    for eager in (True, False):
        settings = product.config(method, network, size.batches[0])
        training = product.Training(settings, dataset, context.device, product.BFLOAT16)
        if eager:
            product.use_one_stream(training.agent)
        updates = 3 if context.tiny else _GRAPH_UPDATES
        (training.run_eager if eager else training.run)(updates)
        states.append(_on_cpu(training.agent.state_dict()))
        training.close()
    difference = max(float((states[0][name] - states[1][name]).abs().max()) for name in states[0])
    context.record("graphs: largest weight difference", difference, method=method, limit=0)
    if difference != 0:
        raise RuntimeError(f"weights differ by up to {difference:.1e} from eager updates")


def _bfloat16(context: Context, method: str) -> None:
    """Losses over 200 updates in both precisions, from the same weights and data."""
    size = sizes(context.tiny)
    network = next(iter(size.networks.values()))
    dataset = context.dataset()
    losses: dict[str, dict[str, Any]] = {}
    for kind in (product.FLOAT32, product.BFLOAT16):
        settings = product.config(method, network, size.batches[0])
        training = product.Training(settings, dataset, context.device, kind)
        infos = [training.run_eager(1) for _ in range(5 if context.tiny else _UPDATES)]
        names = [name for name in infos[0] if name.endswith("/loss")]
        losses[kind] = {
            name: torch.stack([info[name] for info in infos]).float().cpu().numpy()
            for name in names
        }
        training.close()
    wrong = []
    for name, exact in losses[product.FLOAT32].items():
        rounded = losses[product.BFLOAT16][name]
        difference = float(abs(np.mean(rounded) - np.mean(exact)) / abs(np.mean(exact)))
        context.record(
            "bfloat16: mean loss differs by",
            difference,
            method=method,
            loss=name,
            limit=BFLOAT16_TOLERANCE,
        )
        if not difference <= BFLOAT16_TOLERANCE:
            wrong.append(f"{name} by {difference:.1%}")
    if wrong:
        raise RuntimeError(f"bfloat16 differs from float32: {', '.join(wrong)}")


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().float().cpu().clone() for name, tensor in tensors.items()}
