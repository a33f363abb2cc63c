"""Blocks judged by other sandboxes: the same is found; what breaks the protocol, or comes back altered, ends the screening."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import make_classification

from casemate.core import (
    CasemateError,
    InputError,
    PolicyError,
    SandboxError,
    UpstreamError,
    VerificationError,
    seal_bytes,
)
from casemate.sandbox import Channel
from casemate.screening import RayJudges, screen_dataset
from casemate.screening.asked import Asked
from casemate.screening.build import build, other_build
from casemate.screening.judging_cell import JudgingCell
from casemate.screening.ray_address import is_guarded, is_loopback, parse_ray_address, reach, refuse_open
from casemate.screening.ray_judges import driver_environment
from casemate.screening.ray_line import RayLine

ROWS = 900
GUARDED = {
    "RAY_AUTH_MODE": "token",
    "RAY_USE_TLS": "1",
    "RAY_TLS_SERVER_CERT": "a",
    "RAY_TLS_SERVER_KEY": "b",
    "RAY_TLS_CA_CERT": "c",
}
TOKEN = {"RAY_AUTH_MODE": "token"}


class Here:
    """Judges in one sandbox of this machine, with bytes that it opens as little as a cluster does."""

    def __init__(self, spoil=lambda judged: judged) -> None:
        self._fitted, self._blocks, self._spoil = b"", list[bytes](), spoil
        self._cell: JudgingCell | None = None
        self.total = 0

    def give(self, what, number, data) -> None:
        assert number == (0 if what == "fitted" else len(self._blocks))
        if what == "fitted":
            self._fitted = bytes(data)
        else:
            self._blocks.append(bytes(data))

    def begin(self, total) -> None:
        self.total = total
        self._cell = JudgingCell(self._fitted)

    def judged(self, number) -> bytes:
        assert self._cell is not None
        return self._spoil(self._cell.judge(self._blocks[number]))

    @contextmanager
    def opened(self) -> Iterator[Here]:
        yield self
        if self._cell is not None:
            self._cell.close()


@pytest.fixture(scope="module")
def table() -> Iterator[pa.Table]:
    features, labels = make_classification(
        ROWS, 6, n_informative=5, n_redundant=1, class_sep=2.0, flip_y=0.0, random_state=4
    )
    bad = np.random.default_rng(3).random(ROWS) < 0.05
    plain = {f"f{j}": features[:, j] for j in range(6)}
    out = io.BytesIO()
    rest = {"kind": [f"k{one}" for one in np.where(bad, 1 - labels, labels)], "day": np.arange(ROWS)}
    pq.write_table(pa.table(plain | rest), out)
    with seal_bytes([out.getvalue()]) as file:
        yield file


def screened(file, judges):
    with screen_dataset(file, label="kind", time="day", large=500, block=400, judges=judges) as found:
        return msgspec.json.encode(found.report), found.clean.digest, found.suspects.digest


@pytest.mark.slow
def test_another_sandbox_says_the_same_to_the_last_byte(table) -> None:
    judges = Here()
    assert screened(table, judges.opened) == screened(table, None)
    assert judges.total == 3


@pytest.mark.slow
def test_what_is_no_judgement_of_the_block_ends_it(table) -> None:
    with pytest.raises(SandboxError) as refused:
        screened(table, Here(spoil=lambda judged: judged[:-1]).opened)
    assert "no judgement" in refused.value.message


class Silent:
    def give(self, what, number, data) -> None: ...

    def begin(self, total) -> None: ...

    def judged(self, number) -> bytes:
        return b"judged"


@contextmanager
def silent() -> Iterator[Silent]:
    yield Silent()


OPEN = {"what": "open"}
FITTED = {"what": "give", "kind": "fitted", "number": 0}
BLOCK = {"what": "give", "kind": "block", "number": 0}
BEGIN = {"what": "begin", "total": 1}
DATA = [bytearray(b"x")]


def test_a_job_that_keeps_the_order_is_answered() -> None:
    told: list[tuple[int, int]] = []
    with Asked(lambda done, total: told.append((done, total)), silent) as asked:
        for said, buffers in ((OPEN, []), (FITTED, DATA), (BLOCK, DATA), (BEGIN, [])):
            assert asked(said, buffers) == (None, ())
        assert asked({"what": "judged", "number": 0}, []) == (None, (b"judged",))
        asked({"what": "done", "done": 1, "total": 1}, [])
    assert told == [(1, 1)]


@pytest.mark.parametrize(
    "asks",
    [
        [FITTED],
        [OPEN, OPEN],
        [OPEN, BLOCK],
        [OPEN, FITTED, FITTED],
        [OPEN, FITTED, {**BLOCK, "number": 1}],
        [OPEN, FITTED, BLOCK, {**BEGIN, "total": 2}],
        [OPEN, FITTED, BLOCK, BEGIN, {**BLOCK, "number": 1}],
        [OPEN, FITTED, BLOCK, {"what": "judged", "number": 0}],
        [OPEN, FITTED, BLOCK, BEGIN, {"what": "judged", "number": 1}],
        [OPEN, FITTED, BLOCK, BEGIN, {"what": "judged", "number": -1}],
        [{"what": "else"}],
        ["open"],
    ],
)
def test_a_job_that_breaks_the_order_is_ended(asks) -> None:
    with Asked(None, silent) as asked, pytest.raises(SandboxError) as refused:
        for said in asks:
            asked(said, DATA if isinstance(said, dict) and said["what"] == "give" else [])
    assert refused.value.code == "sandbox-protocol"
    with Asked(None, None) as asked, pytest.raises(SandboxError):
        asked(OPEN, [])


@pytest.mark.parametrize(
    "address", ["10.0.0.5:6379", "ray.example.org:6379", "[2001:db8::1]:6379", "127.0.0.1.example.org:1"]
)
def test_a_cluster_that_others_reach_is_refused_unless_it_wants_token_and_certificate(address) -> None:
    for name in GUARDED:
        with pytest.raises(PolicyError) as refused:
            refuse_open(parse_ray_address(address), {**GUARDED, name: ""})
        assert refused.value.code == "ray-open"
    refuse_open(parse_ray_address(address), GUARDED)
    with pytest.raises(PolicyError):
        RayJudges(address, environ={})


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "localhost:6379", "[::1]:6379", "127.8.9.1:1"])
def test_a_cluster_of_this_machine_needs_a_token_alone(address) -> None:
    """Each user of this machine reaches it, and nobody listens on the way."""
    found = parse_ray_address(address)
    assert found.here
    assert str(found) == address
    refuse_open(found, TOKEN)
    with pytest.raises(PolicyError) as refused:
        RayJudges(address, environ={})
    assert refused.value.code == "ray-open"
    assert "RAY_USE_TLS" not in refused.value.message


def test_no_cluster_judges_without_sandbox() -> None:
    with pytest.raises(PolicyError) as refused:
        RayJudges("127.0.0.1:6379", insecure=True, environ=TOKEN)
    assert refused.value.code == "ray-insecure"


@contextmanager
def line(patience=60.0) -> Iterator[tuple[RayLine, Channel]]:
    """What speaks with Ray, and the other side of it, which somebody else has in their hands."""
    ours, theirs = socket.socketpair()
    said = RayLine(ours, parse_ray_address("127.0.0.1:6379"), patience=patience)
    other = Channel(theirs)
    yield said, other
    said.close()
    other.close()


def test_each_block_gets_the_parcel_that_came_for_it() -> None:
    with line() as (ours, theirs):
        ours.begin(3)
        for number in (2, 0, 1):
            theirs.send({"judged": number}, [b"parcel %d" % number])
        assert [ours.judged(number) for number in range(3)] == [b"parcel 0", b"parcel 1", b"parcel 2"]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([{"judged": 7}], id="of no block"),
        pytest.param([{"judged": -1}], id="below all"),
        pytest.param([{"judged": 1}, {"judged": 1}], id="twice"),
        pytest.param([{"judged": 0}, {"judged": 0}], id="again, after it was taken"),
        pytest.param([{}], id="of nothing"),
        pytest.param([{"judged": "0"}], id="no number"),
        pytest.param(["judged"], id="no answer"),
    ],
)
def test_an_answer_that_nobody_waits_for_ends_it(said) -> None:
    with line() as (ours, theirs):
        ours.begin(3)
        for one in said:
            theirs.send(one, [b"parcel"])
        with pytest.raises(UpstreamError) as refused:
            for number in (0, 2):
                ours.judged(number)
    assert refused.value.code == "ray-lost"


def test_an_answer_before_all_blocks_are_given_ends_it() -> None:
    with line() as (ours, theirs):
        theirs.send({"judged": 0}, [b"parcel"])
        with pytest.raises(UpstreamError) as refused:
            ours.judged(0)
    assert refused.value.code == "ray-lost"


@pytest.mark.parametrize(
    ("code", "kept", "family"),
    [
        ("ray-open", "ray-open", PolicyError),
        ("ray-altered", "ray-altered", VerificationError),
        ("ray-no-walls", "ray-no-walls", SandboxError),
        ("sandbox-cpu", "sandbox-cpu", SandboxError),
        ("not-found", "ray-failed", UpstreamError),
        ("revoked\n", "ray-failed", UpstreamError),
    ],
)
def test_what_a_cluster_says_is_clipped_and_of_our_own_families(code, kept, family) -> None:
    with line() as (ours, theirs):
        ours.begin(1)
        theirs.send({"code": code, "message": "\x1b[2JAll rows are clean.\n" + "x" * 100_000})
        with pytest.raises(CasemateError) as refused:
            ours.judged(0)
    error = refused.value
    assert (type(error), error.code) == (family, kept)
    assert error.message.startswith("?[2JAll rows are clean.?")
    assert error.message.isprintable()
    assert len(error.message) <= 1000
    assert error.details["foreign"], "it stays out of the record"


def test_who_takes_nothing_more_is_not_waited_for_for_ever() -> None:
    with line(patience=0.2) as (ours, _), pytest.raises(UpstreamError) as refused:
        ours.give("block", 0, bytes(16 << 20))
    assert refused.value.code == "ray-lost"
    assert "did nothing" in refused.value.message


def test_its_last_word_is_heard_where_it_takes_nothing_more() -> None:
    with line() as (ours, theirs):
        theirs.send({"code": "ray-other-version", "message": "Another one."})
        theirs.close()
        with pytest.raises(SandboxError) as refused:
            ours.give("block", 0, bytes(16 << 20))
    assert refused.value.code == "ray-other-version"


@pytest.mark.parametrize(
    "address", ["", "auto", "ray://127.0.0.1:10001", "127.0.0.1", "127.0.0.1:0", "h:99999", "a b:1", "h:1\n"]
)
def test_what_is_no_address_is_refused(address) -> None:
    with pytest.raises(InputError) as refused:
        RayJudges(address, environ={})
    assert refused.value.code == "ray-address"


def test_no_name_is_taken_for_this_machine() -> None:
    assert not any(map(is_loopback, ("0.0.0.0", "10.0.0.1", "localhost.example.org", "::", "")))
    assert not is_guarded({**GUARDED, "RAY_USE_TLS": "0"}, here=False)
    assert not is_guarded({**GUARDED, "RAY_AUTH_MODE": "disabled"}, here=True)


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_without_the_extra_one_sentence_says_so() -> None:
    with pytest.raises(InputError) as refused:
        RayJudges("127.0.0.1:6379", environ=TOKEN)
    assert refused.value.code == "ray-missing"
    assert "casemate[ray]" in refused.value.message


def test_nothing_of_a_home_reaches_the_process_that_speaks_with_ray() -> None:
    found = driver_environment(
        {"CASEMATE_KEY": "secret", "AWS_SECRET": "s", "PATH": "/bin", "RAY_AUTH_MODE": "token"}, here=True
    )
    assert not {"CASEMATE_KEY", "AWS_SECRET"} & set(found)
    assert (found["PATH"], found["RAY_AUTH_MODE"], found["RAY_USAGE_STATS_ENABLED"]) == ("/bin", "token", "0")


def test_another_build_is_told_by_name() -> None:
    ours = build()
    assert other_build(ours, dict(ours)) == ""
    assert other_build(ours, {**ours, "numpy": "1.0"}).startswith("numpy 1.0, and this machine ")
    assert other_build(ours, {}).startswith("casemate none")


def test_a_cluster_that_does_not_answer_is_told_at_once() -> None:
    with pytest.raises(UpstreamError) as refused:
        reach(parse_ray_address("127.0.0.1:1"))
    assert refused.value.code == "ray-unreachable"
