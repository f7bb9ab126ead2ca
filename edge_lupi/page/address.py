"""Where a page is served, and who may see it: an address, and the token without which only this computer may look."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from edge_lupi.errors import DeviceError, InputError
from edge_lupi.secret import read_secret
from edge_lupi.words import printable

__all__ = ["DEFAULT_ADDRESS", "Address", "bound", "checked_address", "read_token"]

DEFAULT_ADDRESS = "127.0.0.1:8765"
TOKEN_LETTERS = range(16, 257)
LINGER_MS = 30_000  # a browser that confirms nothing for so long is gone
SEND_BUFFER_BYTES = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Address:
    """`host` is an IP address, or `localhost`; `token` is None where only this computer can reach it. `option` gave it.

    `behind` is the name of a proxy in front, if there is one. A token that `is_new` is printed: nobody knows it yet.
    """

    host: str
    port: int
    token: str | None = None
    option: str = "page_at"
    behind: str = ""
    is_new: bool = False

    @property
    def is_own(self) -> bool:
        """Whether only this computer can reach it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    @property
    def url(self) -> str:
        """What to type into a browser; with the token where it is new. One from a file stays out of logs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        return f"http://{host}:{self.port}/" + (f"?token={self.token}" if self.is_new else "")

    def is_proxy(self, host: str) -> bool:
        """Whether a request's Host is the name of the proxy in front."""
        return bool(self.behind) and _name_of(host) == self.behind

    def names(self, host: str) -> bool:
        """Whether a request's Host is this server's: an IP address or this computer's own name, so that no other name
        which somebody lets lead here is taken for ours (DNS rebinding); or the proxy's."""
        name = _name_of(host)
        if name == "localhost" or self.is_proxy(host):
            return True
        try:
            ip = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            own = socket.gethostname().lower()
            return not self.is_own and name in (own, f"{own}.local")
        return ip.is_loopback or not self.is_own

    def admits(self, token: str) -> bool:
        """Whether this is the token, compared in a time that tells nothing about it."""
        return self.token is None or hmac.compare_digest(self.token.encode(), token.encode("utf-8", "replace"))


def checked_address(text: str, token: str | None = None, option: str = "page_at", behind: str | None = None) -> Address:
    """`HOST:PORT`, `HOST` or `PORT` -> an address, with a new token where others can reach it. Raises InputError."""
    host, _, port = text.rpartition(":") if not _is_number(text) else ("", "", text)
    if not _is_number(port) or "]" in port or (":" in host and not host.startswith("[")):
        host, port = text, ""  # no port
    default_host, _, default_port = DEFAULT_ADDRESS.partition(":")
    host, number = host.strip("[]") or default_host, int(port or default_port) if len(port) <= 5 else -1
    try:
        host == "localhost" or ipaddress.ip_address(host)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 16:
        raise InputError(
            f"expected an address as 127.0.0.1:8765 or 0.0.0.0:8765, got {printable(text)[:80]!r}: write it so",
            options=(option,),
        )
    address = Address(host, number, token, option, _proxy(behind) if behind is not None else "")
    if token or (address.is_own and not address.behind):
        return address
    return replace(address, token=secrets.token_urlsafe(24), is_new=True)


def _proxy(name: str) -> str:
    """As browsers write it. Raises InputError where it is no name of a computer."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"expected the name of a proxy as people type it, such as lupi.example.org, got {printable(name)[:80]!r}: "
            "leave out https:// and what comes behind the name"
        )
    return name.lower()


def _name_of(host: str) -> str:
    """Without the port."""
    return (host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host).lower()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def read_token(path: Path) -> str:
    """The first line of a file that others cannot read. Raises InputError where it cannot be a token."""
    token = read_secret(path, "a token").strip()
    if (
        len(token) not in TOKEN_LETTERS
        or not all(letter.isalnum() or letter in "-_" for letter in token)
        or not token.isascii()
    ):
        raise InputError(
            f"expected a token of 16 to 256 letters, digits, - and _ in {printable(str(path))}, got {len(token)} characters: "
            "make one with python3 -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return token


def bound(address: Address) -> tuple[socket.socket, Address]:
    """A listening socket, and the address with the port it has got. Raises DeviceError where it cannot be had."""
    host = "127.0.0.1" if address.host == "localhost" else address.host
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LINGER_MS)
        found.bind((host, address.port))
        found.listen(64)
    except OSError as error:
        found.close()
        raise DeviceError(
            f"could not serve at {host}:{address.port} ({error.strerror or error}): choose another",
            options=(address.option,),
        ) from error
    return found, replace(address, port=found.getsockname()[1])
