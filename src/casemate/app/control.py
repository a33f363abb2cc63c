"""The control plane's process: services behind the door, over TLS and over the home's own Unix socket."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable, MutableMapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from casemate.app.conversion import convert
from casemate.app.evaluation import choose, classes_for, evaluate
from casemate.app.ground import Ground
from casemate.app.intake import look, push_dataset
from casemate.app.jwks import fetch_jwks
from casemate.app.periodically import attempt, repeat
from casemate.app.providers import provider_client
from casemate.app.reproduction import reproduce
from casemate.app.rollouts import RunningGateway, TrialRollout
from casemate.app.training import Rooms, train
from casemate.console import (
    LOCAL_OWNER,
    Services,
    build_console,
    refresh_all,
    tend_break_glass,
    tend_retention,
    tend_reviews,
)
from casemate.core.wire import peer_uid
from casemate.doors import Connection, FrontServer, Recorder, ServerConfig, WireLimits
from casemate.iam import (
    Access,
    Authorizer,
    Enrolment,
    Gate,
    Passkeys,
    PasskeySignIn,
    Passwords,
    Policies,
    Sessions,
    SignIn,
    local_owner,
    relying_party,
)
from casemate.iam.providers.sign_in import ProviderSignIn
from casemate.iam.tokens.verifier import TokenVerifier
from casemate.keys import Purpose
from casemate.registry import (
    Anonymisations,
    Datasets,
    Deployments,
    Evaluations,
    Fingerprints,
    Models,
    Pen,
    Retention,
    Rollout,
    Screenings,
    Signers,
    Trainings,
    took_effect,
)
from casemate.runtime import describe
from casemate.scanning import (
    compare_tables,
    convert_dataset,
    preview_table,
    scan,
)
from casemate.screening import MakeJudges, RayJudges, screen_dataset
from casemate.settings import Settings
from casemate.signing import ReleaseSigner
from casemate.storage import RowCipher, SealedRows, Uploads, unwrap_people_key

# An upload of the largest model takes a while; heads and idle connections are cut off as everywhere. Half a megabit a
# second is the slowest uplink that is sold: what comes slower does not want to arrive. One address needs few connections.
_SLOWEST_UPLOAD = 64 << 10  # bytes/s
_PATIENT = ServerConfig(
    limits=WireLimits(body_seconds=3600.0, body_rate=_SLOWEST_UPLOAD, connections=256, connections_per_address=32)
)
_FRESH = 3600.0  # s between two looks at issuers' keys; they publish a new one a day or more before they use it
_RETAINED = 3600.0  # s between two looks at rules of retention; they speak of days
_TENDED = 60.0  # s between two looks at the dates of access reviews
_UNTENDED = "an access review was not opened or settled"


def build_services(
    ground: Ground,
    gateway: RunningGateway | None = None,
    *,
    passwords: Passwords | None = None,
    control_url: str = "",
) -> Services:
    """Every part of the control plane.

    Args: gateway: None where none runs. passwords: of another cost, in tests. control_url: where people reach it, for
        passkeys; from the settings if empty.
    """
    control_url = control_url or ground.settings.control_url or f"https://localhost:{ground.settings.control_port}"
    insecure = ground.settings.insecure_no_sandbox
    access = Access(ground.ledger, owner_uid=os.geteuid())
    access.refresh()
    policies = Policies()
    people_key = unwrap_people_key(ground.home.path, ground.home.id, ground.keeper.keys)
    rows = SealedRows(ground.engine, people_key, home_id=ground.home.id)
    sessions = Sessions(rows, access)
    tokens = TokenVerifier(spend=ground.keeper.tokens.spend)  # of outside issuers; our own are for the data plane
    authorizer = Authorizer(access=access, policies=policies, clock=ground.clock, tokens=tokens, sessions=sessions)

    def commit(entries: list[tuple[str, dict[str, Any]]], intent: str) -> int:
        try:
            return ground.keeper.commit(entries, intent)
        finally:  # one that fails may have committed
            access.refresh()
            if gateway is not None:
                gateway.refresh()

    settling = threading.Lock()

    def settle(make: Callable[[], list[tuple[str, dict[str, Any]]]], intent: str) -> None:
        """Commit what `make` says on the newest state; no other settlement comes between."""
        with settling:
            access.refresh()
            entries = make()
            if entries:
                commit(entries, intent)

    sign_in = SignIn(
        access=access,
        sessions=sessions,
        passwords=passwords or Passwords(),
        rows=rows,
        cipher=RowCipher(people_key),
        settle=settle,
        sink=ground.keeper.sink,
        clock=ground.clock,
    )
    enrolment = Enrolment(sign_in)
    passkey_sign_in = PasskeySignIn(sign_in, party=partial(relying_party, control_url))
    signer = ReleaseSigner(ground.keeper.keys, lambda: ground.keeper.public_pem(Purpose.RELEASE))
    pen = Pen(signer=signer, commit=commit)
    datasets = Datasets(
        ground.stores,
        pen,
        compare=partial(compare_tables, insecure=insecure),
        look=None if ground.settings.personal_data == "off" else partial(look, ground.settings, insecure=insecure),
        preview=partial(preview_table, insecure=insecure),
    )
    screenings = Screenings(
        ground.stores,
        datasets,
        pen,
        screen=partial(screen_dataset, insecure=insecure, judges=_judges(ground.settings, insecure=insecure)),
        convert=partial(convert_dataset, insecure=insecure),
        required=ground.settings.require_screening,
    )
    anonymisations = Anonymisations(
        ground.stores,
        datasets,
        screenings,
        convert=partial(convert_dataset, insecure=insecure),
        required=ground.settings.datasheets == "required",
        insecure=insecure,
    )
    models = Models(
        ground.stores, pen, scan=partial(scan, insecure=insecure), describe=partial(describe, insecure=insecure)
    )
    uploads = Uploads(ground.stores.blobs.receive)
    evaluations = Evaluations(ground.stores, datasets, models, pen, measure=partial(evaluate, insecure=insecure))
    fingerprints = Fingerprints(
        ground.stores,
        datasets,
        models,
        pen,
        choose=partial(choose, insecure=insecure),
        answer=partial(classes_for, insecure=insecure),
    )
    trainings = Trainings(ground.stores)
    rollout: Rollout = gateway or TrialRollout(Deployments(ground.stores), insecure=insecure)
    deployments = Deployments(ground.stores, pen, rollout=rollout)

    def kept_checkpoints() -> dict[str, str]:
        kept = ground.keeper.kept_checkpoint()
        return {"the checkpoint beside the keys": kept} if kept else {}

    def observed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return rows if gateway is None else gateway.observed(rows)

    return Services(
        authenticate=authorizer.authenticate,
        gate=Gate(
            log=ground.keeper.sink,
            authorizer=authorizer,
            clock=ground.clock,
            took_effect=partial(took_effect, ground.stores),
        ),
        authorizer=authorizer,
        access=access,
        policies=policies,
        clock=ground.clock,
        commit=commit,
        settle=settle,
        datasets=datasets,
        screenings=screenings,
        anonymisations=anonymisations,
        retention=Retention(ground.stores, pen),
        models=models,
        evaluations=evaluations,
        fingerprints=fingerprints,
        deployments=deployments,
        signers=Signers(ground.stores, pen),
        observed=observed,
        push_dataset=partial(
            push_dataset,
            datasets,
            screenings,
            uploads,
            sheet_required=ground.settings.datasheets == "required",
            insecure=insecure,
        ),
        uploads=uploads,
        train=partial(
            train,
            Rooms(
                datasets=datasets,
                screenings=screenings,
                models=models,
                trainings=trainings,
                clock=ground.clock,
                insecure=insecure,
            ),
        ),
        convert=partial(convert, datasets, models, clock=ground.clock, insecure=insecure),
        trainings=trainings,
        reproduce=partial(reproduce, datasets, models, trainings, insecure=insecure),
        sessions=sessions,
        sign_in=sign_in,
        enrolment=enrolment,
        passkeys=Passkeys(passkey_sign_in, sign_in, enrolment),
        passkey_sign_in=passkey_sign_in,
        providers=ProviderSignIn(sign_in, provider_client(ground.settings, ground.clock), public_url=control_url),
        data_keys=ground.keeper.data_keys,
        signing=ground.keeper.signing,
        fetch_keys=fetch_jwks,
        log=ground.log,
        sink=ground.keeper.sink,
        kept_checkpoints=kept_checkpoints,
        status=lambda: {
            "home": str(ground.home.path),
            "datasets": datasets.count(),
            "models": models.count(),
            "deployments": observed(deployments.newest()),
            "open_reviews": sum(review.closed is None for review in access.snapshot.reviews.by_id.values()),
            "audit_entries": ground.log.size(),
        },
    )


class _OwnerOnly(Connection):
    """Talks to processes of the user who owns the home, as the kernel names them, and to nobody else."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as sock:
            if peer_uid(sock) != os.geteuid():
                transport.abort()


def _judges(settings: Settings, *, insecure: bool) -> MakeJudges | None:
    """Who judges the rows of large versions elsewhere. Raises: as `RayJudges`, at the start and not at the first push."""
    if not settings.ray_address:
        return None
    make = partial(RayJudges, settings.ray_address, insecure=insecure)
    make()
    return make


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
    over = threading.Event()
    async with AsyncExitStack() as servers:
        servers.callback(over.set)
        recorder = servers.enter_context(Recorder(services.sink, clock=services.clock))
        app = build_console(services, recorder)
        owner = FrontServer(_as_owner(app), tls=None, sock=local, config=_PATIENT, connection=_OwnerOnly)
        await servers.enter_async_context(owner)
        tend = partial(tend_reviews, services, local_owner(os.geteuid()))
        await asyncio.to_thread(attempt, tend, _UNTENDED)
        if public is not None:
            assert tls is not None, "the control plane speaks TLS only"
            server = FrontServer(app, tls=tls, sock=public, config=_PATIENT, on_refused=recorder.count_early)
            await servers.enter_async_context(server)
            refresh = partial(refresh_all, services, local_owner(os.geteuid()))
            repeat(refresh, "the keys of an issuer were not refreshed", over, every=_FRESH)
            repeat(tend, _UNTENDED, over, every=_TENDED)
            watch = partial(tend_break_glass, services)
            repeat(watch, "emergency grants were not looked at", over, every=_TENDED)
            retain = partial(tend_retention, services, local_owner(os.geteuid()))
            repeat(retain, "a rule of retention was not applied", over, every=_RETAINED, at_once=True)
        ready()
        await stop.wait()
