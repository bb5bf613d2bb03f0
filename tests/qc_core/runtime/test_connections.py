"""A new client replaces a waiting one, and never one that is being answered."""

import contextlib
import socket

from qc_core.runtime.connections import Connections


def test_connections_that_are_being_answered_are_not_replaced() -> None:
    connections = Connections(limit=2)
    with contextlib.ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(4)]
        for end in (end for pair in pairs for end in pair):
            stack.enter_context(end)
        busy, idle, new, late = (pair[0] for pair in pairs)
        assert connections.admit(busy, "a") and connections.admit(idle, "a")
        with connections.answering(busy):
            assert connections.admit(new, "b")
            assert pairs[1][1].recv(1) == b"" and len(connections) == 2
            with connections.answering(new):
                assert not connections.admit(late, "c")
        assert connections.admit(late, "c")
