"""Refuses every connection but local ones, in each Python process that has this on its path.

Python imports `sitecustomize` at its start. A refused attempt is also appended to the file that
`QC_GPU_NETWORK_ATTEMPTS` names.
"""

import ipaddress
import os
import socket

_ATTEMPTS = os.environ.get("QC_GPU_NETWORK_ATTEMPTS")


def _refuse(target):
    if _ATTEMPTS:
        with open(_ATTEMPTS, "a", encoding="utf-8") as file:
            file.write(f"{target}\n")
    raise OSError(f"network access is refused here: {target}")


def _is_local_host(host):
    if host is None or host in ("", "localhost"):
        return True
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _check(sock, address):
    if sock.family != getattr(socket, "AF_UNIX", None) and not _is_local_host(address[0]):
        _refuse(address)


class _GuardedSocket(socket.socket):
    def connect(self, address):
        _check(self, address)
        return super().connect(address)

    def connect_ex(self, address):
        _check(self, address)
        return super().connect_ex(address)

    def sendto(self, data, *arguments):
        _check(self, arguments[-1])
        return super().sendto(data, *arguments)


_getaddrinfo = socket.getaddrinfo


def _guarded_getaddrinfo(host, *arguments, **options):
    if not _is_local_host(host):
        _refuse(host)
    return _getaddrinfo(host, *arguments, **options)


def _guarded(look_up):
    def checked(host):
        return look_up(host) if _is_local_host(host) else _refuse(host)

    return checked


socket.socket = _GuardedSocket
socket.getaddrinfo = _guarded_getaddrinfo
socket.gethostbyname = _guarded(socket.gethostbyname)
socket.gethostbyname_ex = _guarded(socket.gethostbyname_ex)
