"""A real data plane on loopback for tests: real TLS, real server, real recorder; who calls and what runs is given."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from casemate.core import (
    Action,
    AuthError,
    Digest,
    Event,
    Principal,
    PrincipalKind,
    Profile,
    Resource,
    Signature,
    SystemClock,
    TensorSpec,
)
from casemate.doors import FrontServer, ServerConfig, TlsFiles, WireLimits, tls_context
from casemate.gateway import (
    LimitsConfig,
    Rate,
    Recorder,
    RecorderConfig,
    ServedModel,
    build_app,
    front_server,
)

KEY = "cm_good"
SIGNATURE = Signature(
    inputs=(
        TensorSpec(
            name="x",
            datatype="FP32",
            shape=(-1, 3),
            features=("radius", "texture", "area"),
            low=(0.0, 0.0, 0.0),
            high=(10.0, 10.0, 10.0),
        ),
    ),
    outputs=(
        TensorSpec(name="label", datatype="INT64", shape=(-1,)),
        TensorSpec(name="probability", datatype="FP32", shape=(-1, 2)),
    ),
    runtime="onnx",
)


async def answer(inputs: dict[str, np.ndarray], batchable: bool) -> dict[str, np.ndarray]:
    """A tiny model: class 1 when the row's mean is above 5."""
    score = (inputs["x"].mean(axis=1) / 10).clip(0, 1).astype(np.float32)
    return {"label": (score > 0.5).astype(np.int64), "probability": np.stack([1 - score, score], axis=1)}


class MemorySink:
    """A real EventSink that keeps events in memory and can be made to fail or to wait."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.calls = 0

    def append(self, events: list[Event]) -> None:
        self.calls += 1
        self.gate.wait(30)
        if self.error:
            raise self.error
        self.events += events


class Decided(msgspec.Struct):
    allowed: bool
    reason: str = ""
    next_step: str = ""
    roles: tuple[str, ...] = ("caller",)
    policy: str = ""
    ci: bool = False


@dataclass
class World:
    """What the door is given; tests change it while the door is open."""

    models: dict[str, ServedModel]
    sink: MemorySink = field(default_factory=MemorySink)
    rate: Rate | None = None
    waiting: dict[str, Resource] = field(default_factory=dict)  # on record, and not served
    broken: str = ""  # name of a port that raises

    def authenticate(self, bearer: str, certificate: bytes = b"") -> Principal:
        if self.broken == "authenticate":
            raise RuntimeError("secret detail")
        if bearer == "cm_expired":
            raise AuthError("This key has expired: ask for a new one.", code="expired-key")
        if not bearer.startswith(KEY):
            raise AuthError("This key is unknown.", code="unknown-key")
        return Principal(f"prn_{bearer[7:]}", PrincipalKind.SERVICE, "test", credential=f"key_{bearer[7:]}")

    def authorize(self, principal: Principal, action: Action, resource: Resource, *, address: str) -> Decided | None:
        if self.broken == "authorize":
            raise RuntimeError("secret detail")
        if self.broken == "authorize answers nothing":
            return None
        if principal.id == "prn_-stranger" or resource.name == "forbidden":
            return Decided(allowed=False, reason="no grant")
        return Decided(allowed=True)

    def rate_of(self, principal: Principal) -> Rate | None:
        return self.rate

    def current(self, name: str) -> ServedModel | None:
        if self.broken == "deployments":
            raise RuntimeError("secret detail")
        return self.models.get(name)

    def recorded(self, name: str) -> Resource | None:
        return self.waiting.get(name)


def served(name: str = "diagnosis", profile: Profile = Profile.STANDARD, **changes) -> ServedModel:
    model = ServedModel(
        name=name,
        version=4,
        digest=Digest("sha256:" + "0" * 64),
        signature=SIGNATURE,
        profile=profile,
        infer=answer,
    )
    return msgspec.structs.replace(model, **changes)


def world() -> World:
    return World({"diagnosis": served(), "careful": served("careful", Profile.STRICT)})


def make_certificate(folder: Path, name: str = "localhost") -> TlsFiles:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True, parents=True)
    files = TlsFiles(folder / "cert.pem", folder / "key.pem")
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@dataclass
class Door:
    """An open door: where it is, and a raw client for it."""

    server: FrontServer
    world: World
    files: TlsFiles
    recorder: Recorder
    context: ssl.SSLContext

    @property
    def port(self) -> int:
        return self.server.port

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.files.certificate))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.client_context(), server_hostname="localhost"
        )

    async def raw(self, data: bytes) -> bytes:
        """Send bytes, return all that comes back until the server closes."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            await writer.drain()
            return await reader.read()
        except (ConnectionError, ssl.SSLError):
            return b""
        finally:
            await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def open_door(
    folder: Path,
    given: World | None = None,
    *,
    limits: LimitsConfig | None = None,
    wire: WireLimits | None = None,
    record: RecorderConfig | None = None,
    drain_seconds: float = 10.0,
) -> AsyncIterator[Door]:
    given = given or world()
    clock = SystemClock()
    files = make_certificate(folder)
    recorder = Recorder(given.sink, record or RecorderConfig(wait=0.001), clock=clock)
    try:
        app = build_app(
            authenticate=given.authenticate,
            authorize=given.authorize,
            rate_of=given.rate_of,
            deployments=given,
            recorder=recorder,
            clock=clock,
            monotonic=time.monotonic,
            limits=limits,
        )
        context = tls_context(files)
        config = ServerConfig(port=0, limits=wire or WireLimits(), sweep_seconds=0.01, drain_seconds=drain_seconds)
        async with front_server(app, recorder=recorder, tls=context, config=config) as server:
            yield Door(server, given, files, recorder, context)
    finally:
        given.sink.gate.set()
        given.sink.error = None
        recorder.close()


def head(
    method: str = "POST", path: str = "/v2/models/diagnosis/infer", *, key: str | None = KEY, **extra: str
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in extra.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def request(body: bytes, **options: str) -> bytes:
    """A whole request that asks the server to close afterwards."""
    return head(Content_Length=str(len(body)), Connection="close", **options) + body
