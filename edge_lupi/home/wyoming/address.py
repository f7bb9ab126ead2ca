"""Address of a Wyoming service: `tcp://host:port` -> TcpAddress."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from edge_lupi.errors import InputError
from edge_lupi.words import printable

__all__ = ["TcpAddress", "tcp_address"]

_HOST = re.compile(r"[0-9A-Za-z._:%-]{1,253}")


@dataclass(frozen=True)
class TcpAddress:
    """Where a service is, or is to be."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"

    @property
    def is_own(self) -> bool:
        """Whether only this computer can reach it."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def tcp_address(text: str, option: str) -> TcpAddress:
    """Raises InputError, which names the option."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if parts.scheme != "tcp" or not _HOST.fullmatch(host) or port is None or parts.path.strip("/") or parts.username:
        raise InputError(
            f"expected tcp://HOST:PORT, got {printable(text)[:80]!r}: write it as tcp://127.0.0.1:10300",
            options=(option,),
        )
    return TcpAddress(host, port)
