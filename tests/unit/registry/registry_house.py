"""A real home with real keys, storage, ledger and sandboxed scan; only the gateway behind `Rollout` stands in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from onnx import TensorProto, helper, numpy_helper
from real_postgres import fresh_database
from sqlalchemy import URL, make_url

from casemate.core import (
    Principal,
    PrincipalKind,
    SandboxError,
    Signature,
    StorageError,
    TensorSpec,
    rfc3339,
    seal_bytes,
)
from casemate.keys import Keeper, Purpose, init_keys
from casemate.registry import Approvers, Datasets, Deployments, Made, Models, Pen, Stores
from casemate.scanning import ConvertedDataset, scan
from casemate.signing import ReleaseSigner, initial_trust
from casemate.storage import BlobStore, Ledger, LedgerPen, RowCipher, create_home, create_state_key, unwrap_state_key

ANA = Principal(id="usr_ana", kind=PrincipalKind.USER, name="ana")
BEN = Principal(id="usr_ben", kind=PrincipalKind.USER, name="ben")


class Now:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at


@dataclass
class Gateway:
    """Records what it was told to serve, and refuses when told to."""

    told: list[tuple[str, int]] = field(default_factory=list)
    broken: bool = False
    heeded: int = 0

    def converge(self, name: str, number: int) -> None:
        self.told.append((name, number))
        if self.broken:
            raise SandboxError("The worker did not start.", code="worker-start")

    def heed(self) -> None:
        if self.broken:
            raise StorageError("Nobody answers.", code="not-running")
        self.heeded += 1


@dataclass
class House:
    folder: Path
    stores: Stores
    pen: Pen
    models: Models
    datasets: Datasets
    deployments: Deployments
    gateway: Gateway
    commit: Callable
    keeper: Keeper
    clock: Now
    pins: list[Approvers]  # one: what the keeper has pinned

    def blob_files(self) -> list[Path]:
        return sorted(path for path in (self.folder / "blobs").rglob("*") if path.is_file())


def describe(files, served):
    """The signature that these test models have; the runtime's own describe is tested with the runtime."""
    graph = onnx.load_from_string(files[served.path].read()).graph
    width = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    return Signature(
        inputs=(TensorSpec(name="X", datatype="FP32", shape=(-1, width)),),
        outputs=(TensorSpec(name="Y", datatype="FP32", shape=(-1, 1)),),
        runtime="onnx",
    )


@contextmanager
def a_house(folder: Path) -> Iterator[House]:
    """A new home under `folder`, or the one that is there."""
    clock, keys = Now(), folder / "keys"
    home = create_home(folder / "home", now=clock.now())
    init_keys(keys)
    keeper = Keeper(keys)
    create_state_key(home.path, home.id, keeper)
    key = unwrap_state_key(home.path, home.id, keeper)
    engine = home.open_database()
    ledger = Ledger(engine, home_id=home.id, key=key, public=load_pem_public_key(keeper.public_pem(Purpose.CHECKPOINT)))
    writer = LedgerPen(engine, ledger, keeper, home_id=home.id, key=key)

    def commit(entries, intent):
        return writer.append(entries, intent, rfc3339(clock.now()))

    pem = keeper.public_pem(Purpose.RELEASE)
    if not ledger.entries():
        commit([("trust", initial_trust(pem))], "init")
    blobs = BlobStore(home.blobs, home.tmp, home.lost, keeper)
    pins = [Approvers(home=home.id)]
    stores = Stores(
        engine=engine, blobs=blobs, state=ledger, clock=clock, cipher=RowCipher(key), approvers=lambda: pins[0]
    )
    pen, gateway = Pen(signer=ReleaseSigner(keeper, pem), commit=commit), Gateway()
    try:
        yield House(
            folder=home.path,
            stores=stores,
            pen=pen,
            models=Models(stores, pen, scan=scan, describe=describe),
            datasets=Datasets(stores, pen),
            deployments=Deployments(stores, pen, rollout=gateway),
            gateway=gateway,
            commit=commit,
            keeper=keeper,
            clock=clock,
            pins=pins,
        )
    finally:
        engine.dispose()


def model_bytes(slope: float = 1.0, width: int = 2) -> bytes:
    """A linear model in ONNX; its weights are large enough to be a file worth altering."""
    weights = np.full((width, 1), slope, np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "W"], ["Y"])],
        "linear",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(weights, "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model.SerializeToString()


def push_model(house: House, slope: float = 1.0, *, name="diagnosis", actor=ANA, intent="evt_1", **more):
    files = [("model.onnx", iter([model_bytes(slope)]))]
    return house.models.push(name, files, Made(**more), actor=actor, intent=intent)


def table(rows: int = 4) -> ConvertedDataset:
    """As the sandbox would hand it on."""
    columns = {"radius": [1.5 * n for n in range(rows)], "area": [float(n) for n in range(rows)], "label": [0] * rows}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    described = [
        {"name": n, "type": "float64", "role": "feature", "min": min(v), "max": max(v), "nulls": 0}
        for n, v in columns.items()
        if n != "label"
    ]
    target = {"name": "label", "type": "int64", "role": "target", "min": 0, "max": 0, "nulls": 0}
    schema = {"schema": 1, "rows": rows, "columns": [*described, target]}
    return ConvertedDataset(parquet=seal_bytes([sink.getvalue().to_pybytes()]), schema=schema, findings=())


def flip(path: Path, where: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if where is None else where] ^= 1
    path.write_bytes(data)


def keep_house(folder: Path) -> None:
    """Let the rows of a house outlive the test that made it, where they lie on a server."""
    if url := _database(folder):
        kept = f"kept_{url.database}"
        _ask(url, f"ALTER DATABASE {url.database} RENAME TO {kept}")
        _point(folder, url.set(database=kept))


def copy_house(folder: Path, to: Path) -> None:
    """The same house once more, with rows of its own."""
    shutil.copytree(folder, to)
    if url := _database(folder):
        _point(to, make_url(fresh_database(str(url.query["host"]), str(url.database))))


def _database(folder: Path) -> URL | None:
    about = json.loads((folder / "home" / "home.json").read_text())
    return make_url(about["database"]) if about.get("database") else None


def _ask(url: URL, statement: str) -> None:
    with psycopg.connect(host=str(url.query["host"]), user="postgres", dbname="postgres", autocommit=True) as server:
        server.execute(statement)


def _point(folder: Path, url: URL) -> None:
    path = folder / "home" / "home.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"database": url.render_as_string(hide_password=False)}))
