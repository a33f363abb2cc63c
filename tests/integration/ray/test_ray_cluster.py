"""A large table screened on a real Ray cluster of two nodes: the same is found, and what goes wrong is one sentence.

Runs in `make test-ray`, in an environment of its own. Both nodes are of this machine, with one processor each.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sklearn.datasets import make_classification

import casemate
from casemate.core import CasemateError, PolicyError, SandboxError, UpstreamError, VerificationError, seal_bytes
from casemate.screening import RayJudges, screen_dataset
from casemate.screening.parcels import Parcels

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "a" * 48,
}
if find_spec("ray") is None:  # in the environment of `make test`, which collects this file; the lane always has it
    pytest.skip("make test-ray has it", allow_module_level=True)
os.environ |= QUIET  # Ray reads them once, when it is loaded

from ray.cluster_utils import Cluster  # noqa: E402 after what it reads

ROWS, BLOCK = 1000, 50
POORER = Path(__file__).parent.parent / "sandbox" / "poorer.py"
NODE: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 << 20}


@contextmanager
def head(address: str = "127.0.0.1", *, processors: int = 1) -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        cluster.add_node(**NODE | {"num_cpus": processors}, node_ip_address=address)
        yield cluster
    finally:
        cluster.shutdown()


@contextmanager
def two_nodes() -> Iterator[tuple[Cluster, Any]]:
    with head() as cluster:
        yield cluster, cluster.add_node(**NODE, node_ip_address="127.0.0.1")


@pytest.fixture(scope="module")
def table() -> Iterator[Any]:
    features, labels = make_classification(
        ROWS, 6, n_informative=5, n_redundant=1, n_classes=3, class_sep=2.0, flip_y=0.0, random_state=8
    )
    bad = np.random.default_rng(6).random(ROWS) < 0.05
    rest = {
        "kind": [f"k{one}" for one in np.where(bad, (labels + 1) % 3, labels)],
        "who": [f"u{place % 9}" for place in range(ROWS)],
        "day": np.arange(ROWS),
        "note": [f"n{place % 40}" for place in range(ROWS)],
    }
    out = io.BytesIO()
    pq.write_table(pa.table({f"f{j}": features[:, j] for j in range(6)} | rest), out)
    with seal_bytes([out.getvalue()]) as file:
        yield file


def screened(file: Any, judges: Any, progress: Any = None) -> tuple[bytes, str, str]:
    with screen_dataset(
        file, label="kind", contributor="who", time="day", large=500, block=BLOCK, judges=judges, progress=progress
    ) as found:
        return msgspec.json.encode(found.report), found.clean.digest, found.suspects.digest


@pytest.fixture(scope="module")
def alone(table: Any) -> tuple[bytes, str, str]:
    """What is found without a cluster."""
    found = screened(table, None)
    assert b"label-error" in found[0]
    return found


def refused(file: Any, judges: Any) -> CasemateError:
    with pytest.raises(CasemateError) as caught:
        screened(file, judges)
    assert caught.value.message.endswith(".")
    return caught.value


def test_two_nodes_find_the_same_to_the_last_byte(table: Any, alone: Any) -> None:
    with two_nodes() as (cluster, _):
        assert screened(table, lambda: RayJudges(cluster.address)) == alone


def test_a_node_that_is_killed_in_the_middle_costs_no_row(table: Any, alone: Any) -> None:
    with two_nodes() as (cluster, second):
        killed: list[int] = []

        def progress(done: int, total: int) -> None:
            if not killed:
                killed.append(done)
                cluster.remove_node(second, allow_graceful=False)

        assert screened(table, lambda: RayJudges(cluster.address), progress) == alone
        assert killed


def test_a_cluster_that_ends_in_the_middle_is_one_sentence(table: Any) -> None:
    with head() as cluster:

        def progress(_done: int, _total: int) -> None:
            cluster.shutdown()

        with pytest.raises(UpstreamError) as caught:
            screened(table, lambda: RayJudges(cluster.address), progress)
        assert caught.value.code == "ray-lost"


ANOTHER = """
import sys
from ray._private.node import Node
from ray._private.parameter import RayParams
where = {"gcs_address": sys.argv[1], "redis_address": sys.argv[1], "node_ip_address": "127.0.0.1", "node_manager_port": 0}
size = {"num_cpus": 1, "object_store_memory": 100 << 20, "min_worker_port": 0, "max_worker_port": 0}
Node(RayParams(**where, **size, include_log_monitor=False), head=False, shutdown_at_exit=True, spawn_reaper=True)
sys.stdin.read()
"""


@contextmanager
def another(cluster: Cluster, *before: str, path: str = "") -> Iterator[None]:
    """A node with a processor that another process starts, as on a machine of its own."""
    process = subprocess.Popen(
        [sys.executable, *before, "-c", ANOTHER, cluster.address],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 180
        while sum(node["alive"] for node in cluster.global_state.node_table()) < 2:
            assert time.monotonic() < until, "the node did not come up"
            assert process.poll() is None
            time.sleep(0.2)
        yield
    finally:
        process.communicate()
        assert process.returncode == 0


def test_a_node_without_walls_judges_nothing(table: Any) -> None:
    with head(processors=0) as cluster, another(cluster, str(POORER), "landlock_create_ruleset"):
        error = refused(table, lambda: RayJudges(cluster.address))
    assert isinstance(error, SandboxError)
    assert error.code == "ray-no-walls"
    assert "landlock" in error.message


def test_a_node_with_other_code_judges_nothing(table: Any, tmp_path: Path) -> None:
    shutil.copytree(Path(casemate.__file__).parent, tmp_path / "casemate")
    with (tmp_path / "casemate" / "screening" / "judge.py").open("a") as file:
        file.write("# another version\n")
    with head(processors=0) as cluster, another(cluster, path=str(tmp_path)):
        error = refused(table, lambda: RayJudges(cluster.address))
    assert error.code == "ray-other-version"
    assert "casemate" in error.message


@pytest.fixture(scope="module")
def outside() -> str:
    """An address of this machine that is not its own alone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:  # a machine with no network at all has nobody else who could reach it
            pytest.skip("needs an address that is not this machine's alone")
        return str(probe.getsockname()[0])


def test_a_cluster_that_others_reach_is_refused_although_it_is_named_by_its_loopback_address(
    table: Any, outside: str
) -> None:
    with head(outside) as cluster:
        port = cluster.address.rpartition(":")[2]
        error = refused(table, lambda: RayJudges(f"127.0.0.1:{port}"))
        assert isinstance(error, PolicyError)
        assert error.code == "ray-open"
        with pytest.raises(PolicyError):
            RayJudges(cluster.address)


def test_a_cluster_of_this_machine_is_refused_if_it_asks_for_no_token(table: Any) -> None:
    """Any user of this machine would run code as the one who screens, and ask for the key."""
    alone = {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    with guarded_head("127.0.0.1", {**os.environ, **alone}) as address:
        error = refused(table, lambda: RayJudges(address))
    assert error.code == "ray-open"
    assert "each user of this machine" in error.message


class Altering(Parcels):
    """As somebody in the cluster could: one bit of one block."""

    def seal(self, what: str, number: int, data: Any) -> bytes:
        parcel = bytearray(super().seal(what, number, data))
        if what == "block" and number == 3:
            parcel[len(parcel) // 2] ^= 1
        return bytes(parcel)


class AlteringJudges(RayJudges):
    def give(self, what: Any, number: int, data: Any) -> None:
        self._parcels.__class__ = Altering
        super().give(what, number, data)


def test_an_altered_block_ends_it(table: Any) -> None:
    with head() as cluster:
        error = refused(table, lambda: AlteringJudges(cluster.address))
    assert isinstance(error, VerificationError)
    assert error.code == "ray-altered"
    assert "block 3" in error.message


def test_what_listens_and_is_no_cluster_is_unreachable(table: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        error = refused(table, lambda: RayJudges(f"127.0.0.1:{listener.getsockname()[1]}"))
    assert error.code == "ray-unreachable"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory, outside: str) -> dict[str, str]:
    """Ray's variables for mutual TLS: one key pair, signed by itself, for both sides."""
    folder = tmp_path_factory.mktemp("tls")
    files = {"RAY_TLS_SERVER_CERT": folder / "node.pem", "RAY_TLS_SERVER_KEY": folder / "node.key"}
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(one)) for one in ("127.0.0.1", outside))]
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(9)
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    files["RAY_TLS_SERVER_CERT"].write_bytes(made.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files["RAY_TLS_SERVER_KEY"].write_bytes(private)
    return {name: str(path) for name, path in files.items()} | {
        "RAY_TLS_CA_CERT": str(files["RAY_TLS_SERVER_CERT"]),
        "RAY_USE_TLS": "1",
        "address": outside,
    }


@contextmanager
def guarded_head(address: str, environment: dict[str, str]) -> Iterator[str]:
    """Address of a cluster of one node that is started by a command, since what guards it is read once in a process."""
    with socket.create_server((address, 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        f"--port={port}",
        "--num-cpus=1",
        "--block",
    ]
    command += [f"--node-ip-address={address}", "--include-dashboard=false", "--disable-usage-stats"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until = time.monotonic() + 180
        while not answers(address, port):
            assert time.monotonic() < until, "the head did not come up"
            assert process.poll() is None
            time.sleep(0.2)
        yield f"{address}:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("asks", [True, False])
def test_a_cluster_that_others_reach_is_used_if_it_asks_for_token_and_certificate(
    table: Any, alone: Any, certificates: dict[str, str], asks: bool
) -> None:
    outside = certificates["address"]
    ours = {**os.environ, **certificates}
    theirs = ours if asks else {**ours, "RAY_AUTH_MODE": "disabled"}
    with guarded_head(outside, theirs) as address:
        if asks:
            assert screened(table, lambda: RayJudges(address, environ=ours)) == alone
            other = {**ours, "RAY_AUTH_TOKEN": "b" * 48}
            assert refused(table, lambda: RayJudges(address, environ=other)).code == "ray-unreachable"
        else:
            assert refused(table, lambda: RayJudges(address, environ=ours)).code == "ray-open"
