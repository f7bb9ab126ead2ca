"""`listen --mqtt` against a real mosquitto: what Home Assistant finds, restarts, kills, passwords, certificates."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from tests.home.brokers import free_port, mosquitto, seen, until
from tests.home.documented import faults
from tests.home.listening import both_voices, listen_to_file, listening

pytest.importorskip("paho.mqtt")

from edge_lupi.errors import DeviceError, InputError
from edge_lupi.home.mqtt.address import broker_address
from edge_lupi.home.mqtt.broker import Broker
from edge_lupi.installed import install_command

CONFIG = "homeassistant/device/edge-lupi_kitchen/config"
STATE = "edge-lupi/kitchen/state"
AVAILABILITY = "edge-lupi/kitchen/availability"


def test_what_home_assistant_finds(tmp_path: Path) -> None:
    """Discovery as documented, states of the listener's own events, and nobody at the end."""
    with mosquitto(tmp_path) as broker, seen(broker.port) as home:
        url = f"mqtt://127.0.0.1:{broker.port}"
        done = listen_to_file("--task", "speaker,emotion", "--mqtt", url, "--mqtt-name", "kitchen")
        assert done.returncode == 0, done.stderr
        until(lambda: home.newest.get(AVAILABILITY) == "offline")
    found = home.json(CONFIG)
    assert faults(CONFIG, found) == []
    assert list(found["components"]) == ["presence", "speaker", "emotion"]
    labels = {json.loads(line)["label"] for line in done.stdout.splitlines()}
    states = [json.loads(text) for topic, text, _ in home.all if topic == STATE]
    assert {state["speaker"] for state in states} - {"nobody"} <= labels
    assert len({state["speaker"] for state in states}) >= 3  # two voices, and nobody
    assert {state["emotion"] for state in states} <= set(found["components"]["emotion"]["options"])
    assert {state["presence"] for state in states} == {"ON", "OFF"}
    assert states[-1] == {"presence": "OFF", "speaker": "nobody", "emotion": "nobody"}
    for component, value in states[1].items():
        assert rendered(found["components"][component]["value_template"], states[1]) == value
    print("\ndiscovery:", CONFIG, "faults:", faults(CONFIG, found))


def rendered(template: str, state: dict[str, object]) -> str:
    """As Home Assistant does it, with Jinja."""
    jinja2 = pytest.importorskip("jinja2")
    return str(jinja2.Environment().from_string(template).render(value_json=state))


def test_the_documented_fields_are_held_against_it() -> None:
    assert faults("homeassistant/sensor/x", {"device": {}, "origin": {}, "components": {"a": {"platform": "lamp"}}, "x": 1}) == [
        "homeassistant/sensor/x is no discovery topic",
        "root: x is not documented",
        "device lacks name",
        "a device needs identifiers or connections",
        "origin lacks name",
        "a has no platform that is known here",
    ]  # fmt: skip


def test_a_broker_that_forgets_is_told_again_and_a_kill_is_seen(tmp_path: Path) -> None:
    """Everything retained for who comes late; again after a restart without memory; the last will after SIGKILL."""
    with mosquitto(tmp_path) as broker, seen(broker.port) as home:
        url = f"mqtt://127.0.0.1:{broker.port}"
        with listening(tmp_path, "--mqtt", url, "--mqtt-name", "kitchen") as listener:
            until(lambda: home.json(STATE).get("speaker") == "speaker 1")
            broker.stop()
            until(lambda: "the connection was lost" in listener.said)
            broker.start()
            with seen(broker.port) as late:
                until(lambda: {CONFIG, STATE, AVAILABILITY} <= set(late.newest))
                assert late.newest[AVAILABILITY] == "online"
                assert faults(CONFIG, late.json(CONFIG)) == []
                assert late.json(STATE)["presence"] == "ON"
                print("\nafter a restart:", late.newest[AVAILABILITY], late.newest[STATE])
            until(lambda: "is there again" in listener.said)
            listener.kill()
            killed = time.monotonic()
            until(lambda: home.newest.get(AVAILABILITY) == "offline")
            print(f"last will {time.monotonic() - killed:.2f} s after SIGKILL:", home.newest[AVAILABILITY])
        assert "Traceback" not in listener.said
        with seen(broker.port) as late:
            until(lambda: CONFIG in late.newest)
            assert (AVAILABILITY, "offline", True) in late.all


def test_a_broker_that_is_away_costs_nothing(tmp_path: Path) -> None:
    """Neither an event nor a sample, at the start and for ever; it is said once."""
    alone = listen_to_file()
    away = listen_to_file("--mqtt", f"mqtt://127.0.0.1:{free_port()}")
    assert away.returncode == 0
    told = [line for line in away.stderr.splitlines() if "broker" in line]
    assert len(told) == 1
    assert "Connection refused" in told[0]
    assert "dropped 0 samples" in away.stderr
    assert _without_clock(away.stdout) == _without_clock(alone.stdout)


def _without_clock(lines: str) -> list[dict[str, object]]:
    events = [json.loads(line) for line in lines.splitlines()]
    return [{key: value for key, value in event.items() if key != "latency_ms"} for event in events]


def test_a_broker_that_stalls_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and says nothing: putting stays quick, memory bounded, and the end is not waited for."""
    monkeypatch.setattr("edge_lupi.home.mqtt.broker.BEGIN_SECONDS", 0.5)
    monkeypatch.setattr("edge_lupi.home.mqtt.broker.END_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as stalled:
        address = broker_address(f"mqtt://127.0.0.1:{stalled.getsockname()[1]}")
        began = time.monotonic()
        with Broker(address, "a", "a/availability") as broker:
            entered = time.monotonic() - began
            slowest = 0.0
            for number in range(20_000):
                before = time.perf_counter()
                broker.put("a/state", str(number))
                slowest = max(slowest, time.perf_counter() - before)
            assert len(broker._newest) == 2
            leaving = time.monotonic()
        assert entered < 10
        assert slowest < 0.5
        assert time.monotonic() - leaving < 10


@pytest.fixture
def locked(tmp_path: Path) -> tuple[str, Path]:
    """The lines of a broker that asks for a password, and a file with the right one."""
    users, password = tmp_path / "users", tmp_path / "password"
    password.write_text("correct horse\n")
    password.chmod(0o600)
    subprocess.run(["/usr/bin/mosquitto_passwd", "-b", "-c", str(users), "me", "correct horse"], check=True)
    return f"allow_anonymous false\npassword_file {users}", password


def test_a_wrong_password_is_one_sentence_and_stays_secret(tmp_path: Path, locked: tuple[str, Path]) -> None:
    lines, right = locked
    wrong = tmp_path / "wrong"
    wrong.write_text("battery staple")
    wrong.chmod(0o600)
    with mosquitto(tmp_path, lines) as broker:
        url = f"mqtt://me@127.0.0.1:{broker.port}"
        done = listen_to_file("--mqtt", url, "--mqtt-password", wrong)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert "refused us (Not authorized)" in done.stderr
        assert "staple" not in done.stderr
        print("\n" + done.stderr.strip())
        with (
            Broker(broker_address(url, right), "a", "a"),
            seen(broker.port, username="me", password="correct horse") as home,
        ):
            until(lambda: home.newest.get("a") == "online")


def test_a_password_that_others_can_read_is_refused(locked: tuple[str, Path]) -> None:
    _, password = locked
    for mode in (0o644, 0o604, 0o660, 0o777):
        password.chmod(mode)
        with pytest.raises(InputError, match=f"others cannot read, got mode {mode:04o}: chmod 600 {password}"):
            broker_address("mqtt://me@127.0.0.1", password)
    password.chmod(0o440)  # as systemd's credentials, with an access list
    assert broker_address("mqtt://me@127.0.0.1", password).password == "correct horse"


def certificates(folder: Path) -> None:
    """An authority, and a certificate that it signed for localhost."""
    commands = [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ours -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 2 -extfile names -out server.pem",
    ]
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    for command in commands:
        subprocess.run(["/usr/bin/openssl", *command.split()], cwd=folder, check=True, capture_output=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves its socket to be collected
def test_certificates_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edge_lupi.home.mqtt.connection.ANSWER_SECONDS", 0.5)
    certificates(tmp_path)
    ours = tmp_path / "ca.pem"
    with mosquitto(tmp_path, f"certfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key") as broker:
        url = f"mqtts://localhost:{broker.port}"
        with Broker(broker_address(url, ca=ours), "a", "a") as trusted:
            until(lambda: not trusted._unsent)
        assert capsys.readouterr().err == ""
        for address in (broker_address(url), broker_address(url.replace("localhost", "127.0.0.1"), ca=ours)):
            with pytest.raises(DeviceError, match="shows a certificate that is not trusted"), Broker(address, "a", "a"):
                pass
        with Broker(broker_address(url.replace("mqtts", "mqtt")), "a", "a"):
            pass
        assert capsys.readouterr().err.count("could not reach the MQTT broker") == 1


GARBAGE = [
    b"\x30\x06\x00\x02\xff\xfeab",  # a message of a topic that is no text
    b"\x30\x04\xff\xffab",  # a length that lies
    b"\x30\xff\xff\xff\xff\xff",  # one without end
    b"\x40\x01\x00\x62\x00\x90\x00\xe0\x05abcde",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
]


def test_a_broker_that_sends_garbage(capsys: pytest.CaptureFixture[str]) -> None:
    """Behind its confirmation or in place of it: it is said once, and tried again; the thread does not end."""
    sent = Counter[int]()

    def answer(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                one, _ = server.accept()
                number = sent.total() % (2 * len(GARBAGE))
                sent[number] += 1
                with one, suppress(OSError):
                    one.recv(1000)
                    one.sendall((b"\x20\x02\x00\x00" if number % 2 else b"") + GARBAGE[number // 2])
                    one.settimeout(0.2)
                    one.recv(1000)

    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=answer, args=(server,), daemon=True).start()
        with Broker(broker_address(f"mqtt://127.0.0.1:{server.getsockname()[1]}"), "a", "a", (0.02, 0.02)) as broker:
            until(lambda: len(sent) == 2 * len(GARBAGE))
            assert broker._thread.is_alive()
        server.shutdown(socket.SHUT_RDWR)
    assert "Traceback" not in capsys.readouterr().err


def test_a_fault_beside_the_connection_does_not_end_its_thread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else nobody would ever be told again, and nobody would know."""
    faults = [RuntimeError("Message publish failed")]

    def look() -> None:
        if faults:
            raise faults.pop()

    with mosquitto(tmp_path) as broker, seen(broker.port) as home:
        one = Broker(broker_address(f"mqtt://127.0.0.1:{broker.port}"), "a", "a", (0.05, 0.05))
        one.look = look
        with one:
            until(lambda: not faults)
            one.put("b", "still told")
            until(lambda: home.newest.get("b") == "still told")
    assert capsys.readouterr().err.count("Message publish failed") == 1


def test_two_of_one_name_are_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mosquitto(tmp_path) as broker:
        address, said = broker_address(f"mqtt://127.0.0.1:{broker.port}"), list[str]()
        with Broker(address, "same", "a", (0.1, 0.1)), Broker(address, "same", "a", (0.1, 0.1)):
            until(lambda: said.append(capsys.readouterr().err) is None and "give each its own" in said[-1])
    assert "if another listener calls itself same too, give each its own name" in said[-1]
    assert "".join(said).count("the connection was lost") <= 6


def test_without_its_library_it_is_one_sentence() -> None:
    gone = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'paho' else f(n, *a)"
    done = listen_to_file("--mqtt", "mqtt://127.0.0.1", code=gone)
    assert done.returncode == 1
    assert done.stderr == f"edge-lupi: edge-lupi listen --mqtt needs paho: {install_command('mqtt')}\n"


def test_the_base_install_loads_none_of_it() -> None:
    code = "import atexit, sys; atexit.register(lambda: print(*[name for name in sys.modules if name.startswith(('paho', 'edge_lupi.home'))], file=sys.stderr))"
    assert listen_to_file(code=code).stderr.splitlines()[-1] == ""


def test_several_streams_are_several_devices(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, seen(broker.port) as home:
        second = tmp_path / "hall.wav"
        second.write_bytes(both_voices().read_bytes())
        url = f"mqtt://127.0.0.1:{broker.port}"
        done = listen_to_file("--input", second, "--mqtt", url, "--mqtt-name", "kitchen")
        assert done.returncode == 0, done.stderr
        until(lambda: home.newest.get(AVAILABILITY) == "offline")
    found = {topic: json.loads(text) for topic, text in home.newest.items() if topic.startswith("homeassistant")}
    assert len(found) == 2
    assert all(faults(topic, payload) == [] for topic, payload in found.items())
    assert len({payload["device"]["identifiers"][0] for payload in found.values()}) == 2
    assert len({payload["state_topic"] for payload in found.values()}) == 2
