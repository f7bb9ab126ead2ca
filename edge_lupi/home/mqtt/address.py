"""Address of an MQTT broker and how to log in: `mqtt://[user@]host[:port]` in, a checked Address out; secrets come from files alone."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from edge_lupi.disk import read_bounded
from edge_lupi.errors import InputError
from edge_lupi.secret import read_secret
from edge_lupi.words import printable

__all__ = ["BrokerAddress", "broker_address"]

PORTS = {"mqtt": 1883, "mqtts": 8883}
EXAMPLE = "mqtt://broker.local, mqtt://me@192.168.1.5:1883 or mqtts://me@broker.local"
_HOST = re.compile(r"[0-9A-Za-z._:%-]{1,253}")


@dataclass(frozen=True)
class BrokerAddress:
    """Where the broker is and who we are there; printed without user and password. `tls` is None where nothing is encrypted."""

    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    @property
    def is_exposed(self) -> bool:
        """Whether what is sent can be read on the way: another computer, and no encryption."""
        return self.tls is None and self.host not in ("localhost", "::1") and not self.host.startswith("127.")


def broker_address(url: str, password: Path | None = None, ca: Path | None = None) -> BrokerAddress:
    """A checked address. `password` is a file that others cannot read, `ca` a PEM of who may sign the broker's certificate.

    Raises InputError, which never repeats a password.
    """
    try:
        parts = urlsplit(url)
        host, port, user = parts.hostname or "", parts.port, parts.username
    except ValueError:
        host, port, user, parts = "", None, None, urlsplit("")
    if parts.password is not None:
        raise InputError(
            "expected no password in the broker's address, where every user of this computer can see it, got one: "
            "write it into a file of mode 0600 and name that",
            options=("mqtt_password",),
        )
    if parts.scheme not in PORTS or not _HOST.fullmatch(host) or parts.path.strip("/") or parts.query or parts.fragment:
        raise InputError(
            f"expected a broker as {EXAMPLE}, got {printable(url)[:80]!r}: write its address so", options=("mqtt",)
        )
    if ca is not None and parts.scheme != "mqtts":
        raise InputError(
            "expected mqtts:// together with a certificate, got mqtt://, which is not encrypted: write mqtts://",
            options=("mqtt", "mqtt_ca"),
        )
    if password is not None and not user:
        raise InputError("expected a user beside the password, got none: write mqtt://USER@HOST", options=("mqtt",))
    secret = read_password(password) if password else None
    return BrokerAddress(host, port or PORTS[parts.scheme], user, secret, _tls(ca) if parts.scheme == "mqtts" else None)


def read_password(path: Path) -> str:
    """The first line of a file that others cannot read. Raises InputError."""
    text = read_secret(path, "a password")
    if not text:
        raise InputError(f"expected a password in the first line of {printable(str(path))}, got none: write it there")
    return text


def _tls(ca: Path | None) -> ssl.SSLContext:
    """Certificates are checked, and names too: against the system's authorities, or the one in the file alone."""
    if ca is None:
        return ssl.create_default_context()
    pem = read_bounded(ca, 1 << 20, "a certificate")
    try:
        return ssl.create_default_context(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise InputError(
            f"expected a certificate as PEM in {printable(str(ca))}, got something else: "
            "pass that of the authority which signed the broker's"
        ) from error
