"""Adam for agents, and Adam's state as tensors by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from qc_core.errors import UsageError

_STATE = ("step", "exp_avg", "exp_avg_sq")


class Adam(torch.optim.Adam):
    """torch's Adam for code that is not compiled; call `step` under `torch.no_grad`.

    torch decorates these methods for its compiler, which the first call imports. That takes 3 s in
    each process that trains.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    step = inspect.unwrap(torch.optim.Adam.step)


Optimizers = dict[str, Adam]


def make_adam(parameters: Iterable[nn.Parameter], learning_rate: float) -> Adam:
    """Return an Adam over these parameters, on the device where they are now.

    The learning rate is a tensor on that device, so that a CUDA graph can read and change it.
    """
    parameters = [*parameters]
    device = parameters[0].device
    return Adam(
        parameters,
        lr=torch.tensor(learning_rate, device=device),
        eps=1e-8,
        fused=True,
        capturable=device.type == "cuda",
    )


def optimizer_tensors(optimizers: Optimizers) -> dict[str, Tensor]:
    """Return the state of all optimisers, empty before the first step.

    Keys are `INDEX.STATE`, where INDEX is the parameter's position in its optimiser. An agent with
    several optimisers has keys `OPTIMISER.INDEX.STATE`.
    """
    return {
        f"{prefix}{index}.{name}": value
        for prefix, optimizer in _by_prefix(optimizers).items()
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def load_optimizer_tensors(optimizers: Optimizers, tensors: Mapping[str, Tensor]) -> None:
    """Load the state that `optimizer_tensors` returned after at least one step.

    Raises:
        UsageError: a tensor is missing or has the wrong shape.
    """
    for prefix, optimizer in _by_prefix(optimizers).items():
        state: dict[int, dict[str, Tensor]] = {}
        for index, parameter in enumerate(_parameters(optimizer)):
            state[index] = {}
            for name in _STATE:
                key, shape = f"{prefix}{index}.{name}", () if name == "step" else parameter.shape
                value = tensors.get(key)
                if value is None or value.shape != shape:
                    got = "nothing" if value is None else list(value.shape)
                    raise UsageError(f"{key} must have the shape {list(shape)}, got {got}")
                state[index][name] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def _by_prefix(optimizers: Optimizers) -> Optimizers:
    several = len(optimizers) > 1
    return {f"{name}." if several else "": optimizer for name, optimizer in optimizers.items()}


def _parameters(optimizer: Adam) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
