"""Blocks judged by other sandboxes: the same is found; what breaks the protocol, or comes back altered, ends the screening."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import make_classification

from casemate.core import InputError, PolicyError, SandboxError, UpstreamError, seal_bytes
from casemate.screening import RayJudges, screen_dataset
from casemate.screening.asked import Asked
from casemate.screening.build import build, other_build
from casemate.screening.judging_cell import JudgingCell
from casemate.screening.ray_address import is_guarded, is_loopback, parse_ray_address, reach, refuse_open
from casemate.screening.ray_judges import driver_environment

ROWS = 900
GUARDED = {
    "RAY_AUTH_MODE": "token",
    "RAY_USE_TLS": "1",
    "RAY_TLS_SERVER_CERT": "a",
    "RAY_TLS_SERVER_KEY": "b",
    "RAY_TLS_CA_CERT": "c",
}


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
def test_a_cluster_of_this_machine_needs_neither(address) -> None:
    found = parse_ray_address(address)
    assert found.here
    assert str(found) == address
    refuse_open(found, {})


@pytest.mark.parametrize(
    "address", ["", "auto", "ray://127.0.0.1:10001", "127.0.0.1", "127.0.0.1:0", "h:99999", "a b:1", "h:1\n"]
)
def test_what_is_no_address_is_refused(address) -> None:
    with pytest.raises(InputError) as refused:
        RayJudges(address, environ={})
    assert refused.value.code == "ray-address"


def test_no_name_is_taken_for_this_machine() -> None:
    assert not any(map(is_loopback, ("0.0.0.0", "10.0.0.1", "localhost.example.org", "::", "")))
    assert not is_guarded({**GUARDED, "RAY_USE_TLS": "0"})


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_without_the_extra_one_sentence_says_so() -> None:
    with pytest.raises(InputError) as refused:
        RayJudges("127.0.0.1:6379", environ={})
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
