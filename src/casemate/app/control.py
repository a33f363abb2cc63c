"""The control plane's process: services behind the door, over TLS and over the home's own Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import msgspec

from casemate.app.ground import Ground
from casemate.console import LOCAL_OWNER, Services, Trained, build_console
from casemate.core import (
    Principal,
    Ref,
    StorageError,
    Verdict,
    canonical,
    checked_name,
    digest_of,
    seal_bytes,
    verdict_of,
)
from casemate.core.wire import Caller, peer_uid
from casemate.doors import Connection, FrontServer, ServerConfig, WireLimits
from casemate.iam import Access, Authorizer, Gate, Policies, local_owner
from casemate.keys import Purpose
from casemate.registry import Datasets, Deployments, Lineage, Models, Pen, Pushed, Rollout
from casemate.runtime import describe, findings_of, run_training
from casemate.scanning import convert_dataset, scan
from casemate.signing import ReleaseSigner
from casemate.storage import Quota

# An upload of the largest model takes a while; heads and idle connections are cut off as everywhere.
_PATIENT = ServerConfig(limits=WireLimits(body_seconds=3600.0, connections=256))
_LOG_SHOWN = 4000  # characters of a training log in an answer


class RunningGateway:
    """The running gateway, asked to reach what the signed state says."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def converge(self, name: str, number: int) -> None:
        self._caller.call("converge", name, number)

    def refresh(self) -> None:
        """Let the gateway see a change of grants now; one that does not answer looks by itself soon."""
        with contextlib.suppress(StorageError):
            self._caller.call("refresh")


class TrialRollout:
    """With no gateway running: proves that what is recorded verifies, loads and answers behind the walls."""

    def __init__(self, deployments: Deployments, *, insecure: bool) -> None:
        self._deployments, self._insecure = deployments, insecure

    def converge(self, name: str, number: int) -> None:
        del number
        found, model = self._deployments.load(name)
        with model:
            if not found.paused:
                describe(model.files, insecure=self._insecure)


def build_services(ground: Ground, gateway: RunningGateway | None = None) -> Services:
    """Every part of the control plane. Args: gateway: None where none runs."""
    insecure = ground.settings.insecure_no_sandbox
    access = Access(ground.ledger, owner_uid=os.geteuid())
    access.refresh()
    policies = Policies()
    authorizer = Authorizer(access=access, policies=policies, clock=ground.clock)

    def commit(entries: list[tuple[str, dict[str, Any]]], intent: str) -> int:
        number = ground.keeper.commit(entries, intent)
        access.refresh()
        if gateway is not None:
            gateway.refresh()
        return number

    pen = Pen(signer=ReleaseSigner(ground.keeper.keys, ground.keeper.public_pem(Purpose.RELEASE)), commit=commit)
    datasets = Datasets(ground.stores, pen)
    models = Models(
        ground.stores, pen, scan=partial(scan, insecure=insecure), describe=partial(describe, insecure=insecure)
    )
    rollout: Rollout = gateway or TrialRollout(Deployments(ground.stores), insecure=insecure)
    deployments = Deployments(ground.stores, pen, rollout=rollout)

    def kept_checkpoints() -> dict[str, str]:
        kept = ground.keeper.kept_checkpoint()
        return {"the checkpoint beside the keys": kept} if kept else {}

    return Services(
        authenticate=authorizer.authenticate,
        gate=Gate(log=ground.keeper.sink, authorizer=authorizer, clock=ground.clock),
        access=access,
        policies=policies,
        clock=ground.clock,
        commit=commit,
        datasets=datasets,
        models=models,
        deployments=deployments,
        push_dataset=partial(push_dataset, datasets, ground.stores.blobs.quota, insecure=insecure),
        train=partial(train, datasets, models, insecure=insecure),
        log=ground.log,
        kept_checkpoints=kept_checkpoints,
        status=lambda: {
            "home": str(ground.home.path),
            "datasets": len(datasets.newest()),
            "models": len(models.newest()),
            "deployments": deployments.newest(),
            "audit_entries": ground.log.size(),
        },
    )


def push_dataset(
    datasets: Datasets,
    quota: Quota,
    name: str,
    chunks: Iterator[bytes],
    *,
    filename: str,
    target: str | None,
    actor: Principal,
    intent: str,
    insecure: bool,
) -> dict[str, Any]:
    """Convert an uploaded file in the sandbox and push it. The upload is held in memory, never on a disk."""
    checked_name(name, what="dataset")
    with (
        seal_bytes(quota.bounded(chunks), name="casemate-upload") as sealed,
        convert_dataset(sealed, filename, target=target, insecure=insecure) as converted,
    ):
        return datasets.push(name, converted, actor=actor, intent=intent)


def train(
    datasets: Datasets,
    models: Models,
    name: str,
    script: bytes,
    *,
    dataset: Ref,
    filename: str,
    parameters: dict[str, Any],
    actor: Principal,
    intent: str,
    insecure: bool,
) -> Trained:
    """Run a script on a dataset version behind the walls; push what it wrote, if nothing speaks against it."""
    with datasets.open(dataset) as rows:
        schema = seal_bytes([canonical(rows.schema)], name="schema.json")
        with schema:
            files = {"data.parquet": rows.parquet, "schema.json": schema}
            result = run_training(script, files, params=parameters, filename=filename, insecure=insecure)
        about = rows.about
    with result:
        found = findings_of(result)
        pushed = Pushed(verdict=Verdict.REFUSED, findings=tuple(found), name=name)
        if verdict_of(found) is Verdict.CLEAN:
            lineage = Lineage(
                dataset=about,
                script=digest_of(script),
                parameters=parameters,
                environment=digest_of(canonical(result.environment)),
            )
            contents = ((path, iter([file.read()])) for path, file in result.files)
            pushed = models.push(name, contents, actor=actor, intent=intent, lineage=lineage)
            pushed = msgspec.structs.replace(pushed, findings=(*found, *pushed.findings))
        return Trained(
            pushed=pushed, blocked=list(result.blocked), log=result.log_tail[-_LOG_SHOWN:], seconds=result.seconds
        )


class _OwnerOnly(Connection):
    """Talks to processes of the user who owns the home, as the kernel names them, and to nobody else."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as sock:
            if peer_uid(sock) != os.geteuid():
                transport.abort()


def _as_owner(app: Any) -> Any:
    """The application as the home's owner sees it: the kernel has said who calls."""
    owner = local_owner(os.geteuid())

    async def with_owner(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope[LOCAL_OWNER] = owner
        await app(scope, receive, send)

    return with_owner


async def serve_console(
    services: Services,
    *,
    local: socket.socket,
    public: socket.socket | None = None,
    tls: ssl.SSLContext | None = None,
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    """Serve the control plane on the home's socket, and on a TCP socket over TLS, until `stop` is set."""
    app = build_console(services)
    async with AsyncExitStack() as servers:
        owner = FrontServer(_as_owner(app), tls=None, sock=local, config=_PATIENT, connection=_OwnerOnly)
        await servers.enter_async_context(owner)
        if public is not None:
            assert tls is not None, "the control plane speaks TLS only"
            await servers.enter_async_context(FrontServer(app, tls=tls, sock=public, config=_PATIENT))
        ready()
        await stop.wait()
