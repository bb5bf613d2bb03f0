"""A store that runs an action before a chosen call, to test concurrent changes."""

from collections.abc import Callable
from typing import Any

from qc_core.store.objects import ObjectStore


class Meddling:
    """Forwards every call to a store and runs an action once before one of them.

    Args:
        skip: number of matching calls before the action.
    """

    def __init__(
        self,
        store: ObjectStore,
        method: str,
        key_part: str,
        action: Callable[[], object],
        skip: int = 0,
    ) -> None:
        self._store, self._method, self._key_part, self._skip = store, method, key_part, skip
        self._action: Callable[[], object] | None = action

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name != self._method:
            return method

        def call(key: str, *arguments: Any) -> Any:
            if self._action and self._key_part in key:
                self._skip -= 1
                if self._skip < 0:
                    action, self._action = self._action, None
                    action()
            return method(key, *arguments)

        return call

    @property
    def meddled(self) -> bool:
        return self._action is None
