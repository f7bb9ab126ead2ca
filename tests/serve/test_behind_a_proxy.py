"""Behind a TLS proxy: its name is known, and nothing goes through it without the token; tokens stay out of logs."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from edge_lupi.errors import InputError
from edge_lupi.page.address import checked_address, read_token
from tests.serve.serving import Serving, serving
from tests.serve.test_verb import served as served_by_the_verb

TOKEN = "a-token-of-more-than-16-letters"
NAME = "lupi.example.org"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("behind"), token=TOKEN, behind=NAME) as running:
        yield running


def test_the_name_of_the_proxy_and_no_other(behind: Serving) -> None:
    assert behind.asked("GET", "/people", Host=NAME)[0] == 401
    assert behind.asked("GET", "/people", Host=NAME, **BEARER)[0] == 200
    assert behind.asked("GET", "/people", Host=f"{NAME.upper()}:8443", **BEARER)[0] == 200
    assert behind.asked("GET", "/people", Host="other.example.org", **BEARER)[0] == 403
    assert behind.asked("GET", "/people", **BEARER)[0] == 200  # a scrape from this computer


def test_the_pages_own_origin_is_the_proxys(behind: Serving) -> None:
    for origin, admitted in (("https://lupi.example.org", True), ("https://evil.example.org", False)):
        headers = {"Host": NAME, "Origin": origin, **BEARER}
        assert (behind.asked("DELETE", "/people/Nobody", **headers)[0] == 409) == admitted
    with behind.open(
        additional_headers={"Origin": f"https://{NAME}:{behind.address.port}", **BEARER}, host=NAME
    ) as client:
        assert json.loads(client.recv())["type"] == "begin"
    with (
        pytest.raises(InvalidStatus) as refused,
        behind.open(additional_headers={"Origin": "https://evil.example.org", **BEARER}, host=NAME),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_a_cookie_through_tls_goes_through_tls_alone(behind: Serving) -> None:
    for host, is_secure in ((NAME, True), ("127.0.0.1", False)):
        connection = http.client.HTTPConnection("127.0.0.1", behind.address.port, timeout=15)
        connection.request("GET", f"/?token={TOKEN}", headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 303
        assert ("; Secure" in answer.headers["Set-Cookie"]) == is_secure


def test_a_proxy_before_a_service_without_a_token_is_refused(served: Serving) -> None:
    """Behind it anybody may be, and all of them would come from this computer."""
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        status, said = served.asked("GET", "/people", **{header: "203.0.113.7"})
        assert (status, "serve with a token" in said["error"]) == (403, True)


@pytest.mark.parametrize("name", ["", "https://lupi.example.org", "lupi.example.org/x", "a b", "-", "ü.example"])
def test_names_of_proxies_that_are_none(name: str) -> None:
    with pytest.raises(InputError, match="expected the name of a proxy"):
        checked_address("127.0.0.1", TOKEN, "--at", name)


def test_behind_a_proxy_there_is_always_a_token() -> None:
    address = checked_address("127.0.0.1", None, "--at", NAME)
    assert address.token
    assert address.url.endswith(f"?token={address.token}")


def test_a_token_from_a_file_is_in_no_log(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    with served_by_the_verb(tmp_path, "--at", "0.0.0.0:0", "--token", str(tmp_path / "token")) as (_, _, said):
        assert TOKEN not in said.read_text()


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(InputError, match="expected a token that others cannot read, got mode 0644: chmod 600"):
        read_token(tmp_path / "token")
