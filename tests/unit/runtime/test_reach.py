"""The hosts that a script is let out to: exact names, pinned addresses, and nothing of this machine unless it is named."""

from __future__ import annotations

import array
import json
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from casemate.core import InputError, PolicyError
from casemate.runtime.reach import MAX_HOSTS, Host, Reach, looked_up, parse_host


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server on this machine that answers with what it got."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                with sock:
                    sock.sendall(sock.recv(100))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_hosts_are_read() -> None:
    assert parse_host("Data.Example.org:443") == Host("data.example.org", 443)
    assert parse_host("10.0.0.5:80") == Host("10.0.0.5", 80)
    assert parse_host("[2001:DB8::0:1]:80") == Host("2001:db8::1", 80)
    assert parse_host("inside.example=10.0.0.5:443") == Host("inside.example", 443, "10.0.0.5")
    assert str(parse_host("[2001:db8::1]:80")) == "[2001:db8::1]:80"
    assert str(parse_host("inside.example=10.0.0.5:443")) == "inside.example=10.0.0.5:443"


@pytest.mark.parametrize(
    "text",
    [
        "", "example.org", "example.org:", "example.org:0", "example.org:65536", "example.org:80x", "*.example.org:443",
        "https://example.org:443", "a b:80", "-a.example:80", "example.org/x:80", "user@example.org:80", ".:80",
        "example..org:80", "exämple.org:443", "example.org=:80", "example.org=name:80", "10.0.0.1=10.0.0.2:80", "%00:80",
        "a" * 64 + ".org:80", ".".join(["abc"] * 80) + ":80",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_host(text)
    assert refused.value.code == "bad-host"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1", "::ffff:10.0.0.1",
        "64:ff9b::a00:1", "2002:a00:1::", "0.0.0.0", "198.18.0.1",
    ],
)  # fmt: skip
def test_a_name_that_stands_for_no_public_address_is_refused(address: str) -> None:
    with pytest.raises(PolicyError) as refused:
        looked_up(Host("inside.example", 443), lambda *_: ["93.184.216.34", address])
    assert refused.value.code in {"host-not-public", "host-never"}


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "fe80::1", "fe80::1%lo", "224.0.0.1", "0.0.0.0", "::", "fd00:ec2::254", "100.100.100.200",
     "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "255.255.255.255"],
)  # fmt: skip
def test_metadata_and_link_local_addresses_are_refused_even_by_name(address: str) -> None:
    with pytest.raises(PolicyError) as refused:
        looked_up(Host("inside.example", 80, address))
    assert refused.value.code == "host-never"


def test_a_private_address_that_was_named_is_meant() -> None:
    assert looked_up(parse_host("10.0.0.5:80")) == ["10.0.0.5"]
    assert looked_up(parse_host("inside.example=10.0.0.5:443")) == ["10.0.0.5"]
    assert looked_up(Host("public.example", 443), lambda *_: ["93.184.216.34"]) == ["93.184.216.34"]


def test_an_unknown_host_is_refused() -> None:
    def nowhere(*_: object) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    for look_up in (nowhere, lambda *_: []):
        with pytest.raises(InputError) as refused:
            looked_up(Host("nowhere.example", 443), look_up)
        assert refused.value.code == "host-unknown"


def test_too_many_hosts_are_refused() -> None:
    with pytest.raises(InputError):
        Reach([Host("10.0.0.5", port) for port in range(1, MAX_HOSTS + 2)])


class Script:
    """The other side of a reach, as the sandbox has it."""

    def __init__(self, reach: Reach) -> None:
        asked, answered = map(os.dup, reach.fds[:2])
        self.asked, self.answered = asked, socket.socket(fileno=answered)
        reach.begin()

    def connect(self, *what: object) -> tuple[bytes, list[int]]:
        return self.send(json.dumps(what).encode() + b"\n")

    def send(self, line: bytes) -> tuple[bytes, list[int]]:
        os.write(self.asked, line)
        said, fds, *_ = socket.recv_fds(self.answered, 200, 1)
        return said, fds

    def end(self) -> None:
        os.close(self.asked)
        self.answered.close()


def test_what_is_on_the_list_is_connected_and_the_rest_is_named(echo: int) -> None:
    looked: list[str] = []

    def look_up(name: str, _: int) -> list[str]:
        looked.append(name)
        return ["127.0.0.1"]

    with Reach([Host("good.example", echo, "127.0.0.1"), Host("127.0.0.1", echo)], look_up) as reach:
        script = Script(reach)
        for name in ("good.example", "GOOD.example.", "127.0.0.1", "::ffff:127.0.0.1"):
            said, (fd,) = script.connect(name, echo)
            assert said == b"+"
            with socket.socket(fileno=fd) as sock:
                sock.sendall(b"hello")
                assert sock.recv(10) == b"hello"
        refused = [("good.example", echo + 1), ("evil.example", echo), ("xgood.example", echo), ("good.example.evil", echo),
                   ("127.0.0.2", echo), ("localhost", echo), ("good.example\0", echo)]  # fmt: skip
        for name, port in refused:
            assert script.connect(name, port) == (b"-not allowed", [])
        for line in (b"x\n", b"[]\n", b'["good.example", true]\n', b'["good.example", 1e3]\n', b"[" * 200 + b"\n"):
            assert script.send(line) == (b"-not allowed", [])
        script.end()
        reach.finish()
        assert dict(reach.made) == {f"good.example:{echo}": 2, f"127.0.0.1:{echo}": 2}
        assert list(reach.refused)[:2] == [f"good.example:{echo + 1}", f"evil.example:{echo}"]
        assert "what is no host" in reach.refused
    assert looked == []  # a name's address was looked up before the run, or named


def test_an_answer_socket_takes_nothing_from_the_script() -> None:
    with Reach([]) as reach:
        script = Script(reach)
        with open(os.devnull) as parked, pytest.raises(BrokenPipeError):  # noqa: PTH123
            rights = array.array("i", [parked.fileno()]).tobytes()
            script.answered.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        script.end()
        reach.finish()


def test_an_address_that_changes_is_not_followed(echo: int) -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    with pytest.raises(PolicyError):
        Reach([Host("flips.example", echo)], lambda *_: next(answers))
    with Reach([Host("flips.example", echo, "127.0.0.1")], lambda *_: next(answers)) as reach:
        script = Script(reach)
        _, (fd,) = script.connect("flips.example", echo)
        with socket.socket(fileno=fd) as sock:
            assert sock.getpeername() == ("127.0.0.1", echo)
        script.end()
        reach.finish()


def test_a_host_that_does_not_answer_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Reach([Host("127.0.0.1", port)]) as reach:
        script = Script(reach)
        said, fds = script.connect("127.0.0.1", port)
        assert said.startswith(b"-")
        assert fds == []
        script.end()
        reach.finish()
