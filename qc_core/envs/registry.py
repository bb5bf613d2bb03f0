"""Finds environments by their ids, and knows which ids have no simulator.

An id is a Gymnasium id, `Name-v0`, or `package:Name-v0`. With a package, the package is imported
first; it registers the environment. `Name-v0?key=value` has other settings than registered, see
`variants`. Without a package, the environment is searched in OGBench,
robomimic, Gymnasium, and then in the installed packages that have an entry point in the group
`gymnasium.envs`.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import warnings
from importlib.metadata import EntryPoint, entry_points

import gymnasium
from gymnasium.envs.registration import EnvSpec, namespace

from qc_core.envs.variants import applied, split_settings
from qc_core.errors import UsageError, closest
from qc_core.policy_format.environment_spec import gymnasium_id, package_of

# Namespaces of data whose robot or environment does not exist here.
_WITHOUT_SIMULATOR = ("robot/", "minari/")
_PACKAGE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_ENTRY_POINTS = "gymnasium.envs"
# Plugins with this name register complete ids; other names are the namespace of their ids.
_NO_NAMESPACE = "__root__"
_MAX_REASON = 300


def has_simulator(environment: str) -> bool:
    """Return whether an id names an environment that can be played, rather than only a robot.

    Ids that start with `robot/` or `minari/` name the origin of recorded data, unless a package
    has registered an environment of that id.
    """
    if not environment.startswith(_WITHOUT_SIMULATOR):
        return True
    with contextlib.suppress(UsageError):
        find_environment(environment)
        return True
    return False


def find_environment(environment: str) -> EnvSpec:
    """Return Gymnasium's registration of an environment.

    Raises:
        UsageError: the id is unknown, its settings are invalid, or the package that should register
            it cannot be imported.
    """
    name, settings = split_settings(environment)
    return applied(_find_registered(name), settings, environment)


def _find_registered(environment: str) -> EnvSpec:
    register_own()
    package, name = package_of(environment), gymnasium_id(environment)
    failures = ""
    if package is not None:
        _import(package, environment)
    elif name not in gymnasium.registry:
        failures = _load_plugins()
    if name in gymnasium.registry:
        return gymnasium.registry[name]
    if package is not None:
        raise UsageError(
            f"{package} is imported, but registers no environment {name!r}: call "
            f"gymnasium.register(id={name!r}, …) when the package is imported."
            + closest(name, list(gymnasium.registry))
        )
    if environment.startswith(_WITHOUT_SIMULATOR):
        raise UsageError(
            f"{environment} has no simulator here: pretrain and export work, fine-tuning and "
            "playing do not"
        )
    raise UsageError(
        f"unknown environment {environment!r}: give the id of an installed environment, or name "
        "the package that registers it, as package:Name-v0."
        + closest(environment, list(gymnasium.registry))
        + failures
    )


def register_own() -> None:
    """Import OGBench and this package's robomimic environments, which register themselves."""
    with warnings.catch_warnings():
        # mujoco's viewer warns that there is no screen; this program does not open it.
        warnings.simplefilter("ignore")
        importlib.import_module("ogbench.manipspace.envs.cube_env")
    importlib.import_module("qc_core.envs.robomimic")


def _import(package: str, environment: str) -> None:
    if not _PACKAGE.fullmatch(package):
        raise UsageError(
            f"{environment!r}: {package!r} is not the name of a Python package; "
            "write package:Name-v0"
        )
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{package}.".startswith(f"{error.name}."):
            raise UsageError(
                f"{environment}: there is no package {package!r} here; install it "
                "(pip install -e FOLDER), or add its folder to PYTHONPATH"
            ) from error
        raise _import_failure(package, error) from error
    except Exception as error:
        raise _import_failure(package, error) from error


def _import_failure(package: str, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())[:_MAX_REASON]
    return UsageError(
        f"{package} cannot be imported ({type(error).__name__}: {reason}): correct the package, "
        "or install what it needs"
    )


def _load_plugins() -> str:
    """Let installed packages register their environments; return what failed, for an error."""
    failed = []
    for plugin in entry_points(group=_ENTRY_POINTS):
        try:
            _load(plugin)
        except Exception as error:
            failed.append(f"{plugin.value} ({type(error).__name__})")
    return f" Entry points that failed: {', '.join(failed)}." if failed else ""


def _load(plugin: EntryPoint) -> None:
    names = contextlib.nullcontext() if plugin.name == _NO_NAMESPACE else namespace(plugin.name)
    with names:
        register = plugin.load()
        if callable(register):
            register()
