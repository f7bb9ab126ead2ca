"""Who is let in: token, Host, Origin, sizes and rates, asked of a real server over real sockets."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_lupi import Listener, shipped_bundle
from edge_lupi.errors import DeviceError, InputError
from edge_lupi.page.address import Address, bound, checked_address, read_token
from edge_lupi.page.guard import BURST
from edge_lupi.page.rates import MOST_PEERS, Rates
from edge_lupi.runtime.speakers.gallery import Gallery

pytest.importorskip("uvicorn")

from edge_lupi.page.page import Page
from edge_lupi.page.server import MOST_CONNECTIONS

TOKEN = "a-token-of-more-than-16-letters"


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener(shipped_bundle("speaker"), gallery=None)


@pytest.fixture
def own(listener: Listener, tmp_path: Path) -> Iterator[Address]:
    """A page for this computer alone."""
    page = Page(checked_address("127.0.0.1:0"), listener, Gallery(tmp_path / "people.json", "x"))
    with page.server as server:
        yield server.address


@pytest.fixture
def open_to_all(listener: Listener, tmp_path: Path) -> Iterator[Address]:
    page = Page(checked_address("0.0.0.0:0", TOKEN), listener, Gallery(tmp_path / "people.json", "x"))
    with page.server as server:
        yield server.address


def asked(
    address: Address, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> tuple[int, str, http.client.HTTPMessage]:
    """Status, what was said, headers."""
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=15)
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    said = "" if path == "/stream" and answer.status == 200 else answer.read().decode()
    connection.close()
    return answer.status, said, answer.headers


def origin(address: Address) -> dict[str, str]:
    return {"Origin": f"http://127.0.0.1:{address.port}"}


@pytest.mark.parametrize("path", ["/", "/stream", "/name", "/nothing"])
def test_nothing_without_the_token(open_to_all: Address, path: str) -> None:
    method = "POST" if path == "/name" else "GET"
    wrong = [{}, {"Authorization": "Bearer wrong"}, {"Cookie": f"edge_lupi_page={TOKEN}x"}, {"Cookie": "a=b; ;;=\x7f"}]
    for headers in wrong:
        status, said, _ = asked(open_to_all, method, path, headers)
        assert (status, "token" in said) == (401, True)
    assert asked(open_to_all, method, f"{path}?token=wrong")[0] == 401
    assert (
        asked(open_to_all, "POST", f"/name?token={TOKEN}", origin(open_to_all))[0] == 401
    )  # by cookie or header alone


def test_with_the_token(open_to_all: Address) -> None:
    status, _, headers = asked(open_to_all, "GET", f"/?token={TOKEN}")
    assert (status, headers["Location"]) == (303, "/")
    assert "HttpOnly; SameSite=Strict" in headers["Set-Cookie"]
    cookie = {"Cookie": headers["Set-Cookie"].split(";")[0]}
    assert asked(open_to_all, "GET", "/", cookie)[0] == 200
    assert asked(open_to_all, "GET", "/stream", cookie)[0] == 200
    assert asked(open_to_all, "GET", "/", {"Authorization": f"Bearer {TOKEN}"})[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "192.168.1.5", "[::1"]
)
def test_no_other_name_leads_here(own: Address, host: str) -> None:
    assert asked(own, "GET", "/", {"Host": host})[0] == 403
    assert asked(own, "GET", "/stream", {"Host": host})[0] == 403


def test_own_names_lead_here(own: Address, open_to_all: Address) -> None:
    for host in ("localhost:1", "127.0.0.1", "[::1]:8765", "LOCALHOST"):
        assert asked(own, "GET", "/", {"Host": host})[0] == 200
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert asked(open_to_all, "GET", "/", {"Host": "192.168.1.5:8765", **bearer})[0] == 200
    assert asked(open_to_all, "GET", "/", {"Host": f"{socket.gethostname()}:8765", **bearer})[0] == 200
    assert asked(open_to_all, "GET", "/", {"Host": "evil.example", **bearer})[0] == 403


def test_changes_and_streams_of_this_page_alone(own: Address) -> None:
    body = json.dumps({"name": "alice"}).encode()
    for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"}):
        assert asked(own, "POST", "/forget", headers, body)[0] == 403
    assert asked(own, "GET", "/stream", {"Origin": "http://evil.example"})[0] == 403
    assert asked(own, "GET", "/stream", {"Sec-Fetch-Site": "cross-site"})[0] == 403
    status, said, _ = asked(own, "POST", "/forget", origin(own), body)
    assert status == 409
    assert "expected a speaker" in json.loads(said)["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"name": 1}', b'{"name": NaN}', b"[" * 4000, b'{"name": "\\ud800"}', b"x" * 5000, b"\xff"],
)
def test_bodies_that_are_none(own: Address, body: bytes) -> None:
    status, said, _ = asked(own, "POST", "/name", origin(own), body)
    assert status == 400
    assert "expected an object of JSON" in said


def test_headers_that_keep_a_browser_in(own: Address) -> None:
    _, page, headers = asked(own, "GET", "/")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")
    assert "innerHTML" not in page
    assert "http://" not in page
    assert "https://" not in page
    status, _, headers = asked(own, "GET", "/etc/passwd")
    assert (status, headers["Content-Type"]) == (404, "application/json")


def status_of(address: Address) -> int:
    """0 where the connection is closed unread."""
    try:
        return asked(address, "GET", "/nothing")[0]
    except (ConnectionError, http.client.BadStatusLine):
        return 0


@pytest.fixture
def few_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few that the slowest machine asks for more."""
    monkeypatch.setattr("edge_lupi.page.guard.REQUESTS_PER_SECOND", 5.0)
    monkeypatch.setattr("edge_lupi.page.server.CONNECTIONS_PER_SECOND", 5 + BURST)


@pytest.mark.usefixtures("few_a_second")
def test_rates_are_limited(own: Address) -> None:
    statuses = [status_of(own) for _ in range(int(BURST) + 60)]
    assert statuses[0] == 404
    assert {429, 0} & set(statuses)
    time.sleep(2.5)
    assert asked(own, "GET", "/")[0] == 200


@pytest.mark.usefixtures("few_a_second")
def test_a_flood_from_one_address_keeps_out_no_other(own: Address) -> None:
    """Neither its connections nor its requests are counted against others."""
    for _ in range(int(BURST) + 60):
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", own.port), source_address=("127.0.0.2", 0)) as one,
        ):
            one.sendall(b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            last = one.recv(100)
    assert not last.startswith(b"HTTP/1.1 404")
    assert asked(own, "GET", "/")[0] == 200


def test_addresses_that_are_remembered_are_bounded() -> None:
    rates = Rates(per_second=0.0, burst=2.0)
    assert [rates.admits("one") for _ in range(3)] == [True, True, False]
    assert [rates.admits(f"other {number}") for number in range(5)] == [True] * 5
    assert not rates.admits("one")
    for number in range(2 * MOST_PEERS):
        rates.admits(f"{number}")
    assert len(rates._left) == MOST_PEERS


def is_closed(connection: socket.socket) -> bool:
    """By the other end, within a few seconds, with nothing said."""
    connection.settimeout(5)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_silent_connections_keep_nobody_out(own: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_lupi.page.server.REQUEST_SECONDS", 1.0)
    time.sleep(1)
    silent = [socket.create_connection(("127.0.0.1", own.port)) for _ in range(MOST_CONNECTIONS + 20)]
    half = socket.create_connection(("127.0.0.1", own.port))
    half.sendall(b"POST /name HTTP/1.1\r\nHost: 127.0.0.1")
    time.sleep(2.5)
    assert asked(own, "GET", "/")[0] == 200
    for one in silent:
        assert is_closed(one)
        one.close()
    assert is_closed(half)
    half.close()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8765", "127.0.0.1", 8765),
        ("8080", "127.0.0.1", 8080),
        ("localhost", "localhost", 8765),
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("[::1]:9000", "::1", 9000),
        ("::1", "::1", 8765),
        ("[::]", "::", 8765),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    address = checked_address(text)
    assert (address.host, address.port) == (host, port)
    assert (address.token is None) == address.is_own
    assert address.is_own == (host not in ("0.0.0.0", "::"))


@pytest.mark.parametrize(
    "text",
    ["my.lupi", "example.org:80", "127.0.0.1:99999", "127.0.0.1:-1", "1.2.3:80", "[::1", "a" * 500, "²", "1.2.3.4:²"],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(InputError, match=r"expected an address as 127\.0\.0\.1:8765"):
        checked_address(text)


def test_new_tokens_differ() -> None:
    one, other = checked_address("0.0.0.0").token, checked_address("0.0.0.0").token
    assert one
    assert one != other
    assert len(one) >= 32


@pytest.mark.parametrize("text", ["", "short", "with spaces in it 123456", "ümlaute-ümlaute-ümlaute", "x" * 300])
def test_files_that_hold_no_token(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(InputError, match="expected a token of 16 to 256 letters"):
        read_token(path)


def test_a_token_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    assert read_token(path) == TOKEN
    with pytest.raises(InputError, match="expected a token at"):
        read_token(tmp_path / "nothing")


def test_a_port_that_is_taken() -> None:
    taken, address = bound(checked_address("127.0.0.1:0"))
    with taken, pytest.raises(DeviceError, match=r"in use\): choose another"):
        bound(address)
