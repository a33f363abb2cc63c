"""The parts around a cell: rights by ABI, the view, the channel, folder sizes, ends as errors."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.core.errors import SandboxError
from casemate.core.wire import encode_frame
from casemate.sandbox import Channel, Exit, ExitReason, Limits
from casemate.sandbox.bubblewrap import bubblewrap_command
from casemate.sandbox.exits import error_of
from casemate.sandbox.jobs import _revived
from casemate.sandbox.landlock import handled_rights
from casemate.sandbox.order import Order
from casemate.sandbox.view import installed_paths, readable_paths
from casemate.sandbox.walls import MENDS, Wall


@pytest.mark.parametrize(
    ("abi", "rights"),
    [
        (1, (0x1FFF, 0, 0)),
        (2, (0x3FFF, 0, 0)),
        (3, (0x7FFF, 0, 0)),
        (4, (0x7FFF, 3, 0)),
        (5, (0xFFFF, 3, 0)),
        (6, (0xFFFF, 3, 3)),
        (7, (0xFFFF, 3, 3)),
    ],
)
def test_every_right_of_each_abi_is_used(abi, rights):
    assert handled_rights(abi) == rights


def test_view_shows_no_home_and_no_configuration():
    home = Path.home()
    for path in readable_paths():
        assert not home.is_relative_to(path), path
        assert not (home / ".config/casemate/keys").is_relative_to(path)
        assert not Path("/etc/passwd").is_relative_to(path)
        assert not path.startswith("/proc/self") or path.count("/") == 3
    assert "/" not in installed_paths()


def test_extra_paths_are_shown_as_they_really_are(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert str(tmp_path / "real") in readable_paths([tmp_path / "link"])
    assert str(tmp_path / "link") not in readable_paths([tmp_path / "link"])


def test_namespaces_bind_nothing_of_the_host_writable_but_the_folder():
    command = bubblewrap_command("bwrap", extra=["/data"], writable="/out")
    assert [command[at + 1] for at, word in enumerate(command) if word == "--bind"] == ["/out"]
    assert {"--unshare-all", "--disable-userns", "--die-with-parent", "--new-session"} <= set(command)
    assert "/" not in [command[at + 1] for at, word in enumerate(command) if word.startswith("--ro-bind")]


def test_each_reason_has_an_error_of_its_own():
    errors = [error_of(Exit(1, None, reason), output=b"\xff") for reason in ExitReason]
    assert len({error.code for error in errors}) == len({error.message for error in errors}) == len(ExitReason)
    assert set(MENDS) == set(Wall)


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSONISH, st.lists(st.binary(max_size=50), max_size=3))
def test_channel_gives_back_what_was_sent(message, buffers):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Channel(ours).send(message, buffers)
        frame = Channel(theirs).recv(timeout=120)
    assert frame.message == message
    assert frame.buffers == buffers


@given(JSONISH, st.lists(st.binary(max_size=50), max_size=3), st.data())
def test_channel_refuses_a_frame_cut_short(message, buffers, data):
    whole = b"".join(bytes(part) for part in encode_frame(message, buffers))
    kept = data.draw(st.integers(0, len(whole) - 1))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(whole[:kept])
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(SandboxError) as caught:
            Channel(theirs).recv(timeout=120)
    assert caught.value.code in ("sandbox-gone", "sandbox-protocol")


def test_channel_hands_descriptors_to_the_child_only():
    ours, theirs = socket.socketpair()
    with ours, theirs, Path(os.devnull).open() as file:
        Channel(ours).send(None, fds=[file.fileno()])
        (fd,) = Channel(theirs, take_fds=True).recv(timeout=120).fds
        os.close(fd)
        Channel(theirs).send(None, fds=[file.fileno()])
        with pytest.raises(SandboxError) as caught:
            Channel(ours).recv(timeout=120)
    assert caught.value.code == "sandbox-protocol"


def test_channel_bounds_what_a_peer_can_claim():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        header = msgspec.msgpack.encode([None, [1 << 40]])
        ours.sendall(len(header).to_bytes(4) + header)
        with pytest.raises(SandboxError) as caught:
            Channel(theirs).recv(timeout=120)
    assert caught.value.code == "sandbox-protocol"


@given(JSONISH)
def test_whatever_a_job_answers_becomes_an_error_of_ours(answer):
    error = _revived(answer)
    assert error.code
    assert error.message.isprintable()


def test_order_round_trip():
    order = Order(
        entry="a:b",
        args={"n": 1},
        limits=Limits(cpu_seconds=1),
        job=True,
        floor=True,
        report=False,
        paths=[],
        readable=["/lib"],
        writable=[],
    )
    assert msgspec.convert(msgspec.to_builtins(order), Order) == order
