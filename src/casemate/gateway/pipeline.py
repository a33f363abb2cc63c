"""The guards of one prediction, top to bottom in the order in which they run.

    authenticate -> authorise -> limit -> decode -> validate -> screen -> infer -> harden -> respond -> record

Whatever goes wrong in a guard refuses the request: an unexpected exception is a refusal too (500, without detail).
Nothing reaches a model unscreened, and nothing leaves unrecorded: `strict` answers after its event is committed,
`standard` once it is queued, and may lose the last 50 ms of events in a crash.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import orjson

from casemate.core import (
    AuthError,
    CasemateError,
    Clock,
    InputError,
    LimitError,
    NotFoundError,
    PolicyError,
    Principal,
    Resource,
)
from casemate.doors import Recorder, Refusal, network_of
from casemate.doors.problems import Headers, Problem, problem_of, status_of
from casemate.gateway.deployed import Deployed, DeployedModels
from casemate.gateway.evidence import prediction_event
from casemate.gateway.interface import Array, Authenticate, Authorize, Decision, Deployments, RateOf, ServedModel
from casemate.gateway.limits import Allowance, Limits
from casemate.gateway.receipts import Receipt
from casemate.gateway.requests import RawRequest
from casemate.guardrails import InferRequest, decode_request

_LOG = logging.getLogger("casemate.gateway")

OFFLOAD_BYTES = 64 << 10  # a body above this is decoded in a thread: below, the hop costs more than the decoding
_JSON: Headers = [(b"content-type", b"application/json")]


class AdmittedRequest(msgspec.Struct, frozen=True):
    """A request whose caller is known, allowed and within limits. Only `Pipeline.admit` makes one."""

    raw: RawRequest
    principal: Principal
    deployed: Deployed
    allowance: Allowance
    decision: Decision

    @property
    def served(self) -> ServedModel:
        """The version that it began with, whatever is served meanwhile."""
        return self.deployed.served


class ValidatedInputs(msgspec.Struct, frozen=True):
    """Arrays that the model's signature allows. Only `Pipeline` makes one."""

    arrays: dict[str, Array]
    request_id: str | None
    wanted: frozenset[str] | None  # names of outputs asked for, None for all
    outside: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """What is sent back."""

    status: int
    body: bytes
    headers: Headers
    receipt: str = ""


class Pipeline:
    """Holds the guards' parts; each method below is one guard."""

    def __init__(
        self,
        *,
        authenticate: Authenticate,
        authorize: Authorize,
        rate_of: RateOf,
        deployments: Deployments,
        limits: Limits,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._identify = authenticate
        self._decide = authorize
        self._rate_of = rate_of
        self._deployments = DeployedModels(deployments)
        self._limits = limits
        self._recorder = recorder
        self._clock = clock

    async def predict(self, raw: RawRequest) -> Answer:
        """One prediction, or the problem document that says why not. Raises: nothing."""
        receipt = Receipt()
        try:
            admitted = self.admit(raw, receipt)
            self._require_service(admitted.served)
            with self._limits.hold() as held:
                receipt.at = "decode"
                body = await raw.read_body(admitted.deployed.rules.max_body, held)  # slow clients hold no place below
                with self._limits.enter(admitted.deployed.slots):
                    inputs = await self._decode_and_validate(admitted, body, receipt)
                    receipt.at = "screen"
                    inputs = self._screen(admitted, inputs, receipt)
                    receipt.at = "infer"
                    outputs = await self._infer(admitted, inputs)
                    receipt.at = "harden"
                    hardened = self._harden(admitted, inputs, outputs)
                    receipt.at = "respond"
                    answer = self._respond(admitted, inputs, hardened)
                    receipt.at = "record"
                    return await self._record(admitted, inputs, answer, receipt)
        except Exception as error:  # noqa: BLE001 a guard that errors refuses
            return self.refuse(raw, error, receipt)

    # The first three guards stand before every route that needs a key.

    def admit(self, raw: RawRequest, receipt: Receipt) -> AdmittedRequest:
        """Authenticate, authorise and limit. Raises: CasemateError, whose family says why not."""
        receipt.at = "authenticate"
        principal = self.authenticate(raw)
        receipt.at = "authorise"
        try:
            deployed, decision = self._authorise(raw, principal)
        except (PolicyError, NotFoundError, LimitError):
            self._take_unserved(raw, principal)
            raise
        receipt.at = "limit"
        return AdmittedRequest(raw, principal, deployed, self._limit(raw, principal, deployed), decision)

    def admit_unserved(self, raw: RawRequest) -> None:
        """Authenticate and limit who asks for no deployment. Raises: AuthError; LimitError."""
        self._take_unserved(raw, self.authenticate(raw))

    def _take_unserved(self, raw: RawRequest, principal: Principal) -> None:
        raw.allowance = self._limits.take_unserved(principal.credential or principal.id, self._rate_of(principal))

    def authenticate(self, raw: RawRequest) -> Principal:
        """Who calls. Raises: AuthError; LimitError: this address was refused too often, or asks too often."""
        scheme, _, credential = raw.authorization.partition(" ")
        try:
            if scheme.lower() != "bearer" or not credential:
                raise AuthError(
                    "No key came with the request: send it as 'Authorization: Bearer cm_...'.", code="no-credential"
                )
            principal = self._identify(credential, raw.certificate)
        except AuthError:
            self._limits.count_refusal(raw.address)
            raise
        raw.principal = principal
        self._limits.take_address(raw.address)
        return principal

    def _authorise(self, raw: RawRequest, principal: Principal) -> tuple[Deployed, Decision]:
        """May this caller do this to this deployment? Only who may learns whether it exists."""
        found = self._deployments.current(raw.deployment)
        recorded = None if found else self._deployments.recorded(raw.deployment)
        resource = found.resource if found else recorded or Resource("deployment", raw.deployment, principal.project)
        decision = self._decide(principal, raw.action, resource, address=raw.address)
        if decision.allowed is not True:
            raise PolicyError(f"Refused: {decision.reason}." + (f" {decision.next_step}" if decision.next_step else ""))
        if found is None and recorded is not None:
            raise LimitError(
                f"Deployment {raw.deployment!r} is on record, and its model is not loaded: come back later, or ask its "
                "operator, whom casemate deployment list tells why.",
                retry_after=5.0,
                code="deployment-not-loaded",
            )
        if found is None:
            raise NotFoundError(f"No deployment is called {raw.deployment!r}.", code="deployment-not-found")
        if raw.version and raw.version != str(found.served.version):
            raise NotFoundError(
                f"Deployment {raw.deployment!r} serves version {found.served.version}, not {raw.version}.",
                code="version-not-served",
            )
        return found, decision

    def _limit(self, raw: RawRequest, principal: Principal, deployed: Deployed) -> Allowance:
        """The rate per key; its address was asked before it was decided what the key may."""
        key = principal.credential or principal.id
        rate = self._rate_of(principal)
        if rate is None:  # the profile's, which is each deployment's own
            rate, key = deployed.rules.key_rate, f"{key}@{deployed.resource_text}"
        raw.allowance = allowance = self._limits.take_key(key, rate)
        return allowance

    # From here on the request is a prediction.

    def _require_service(self, served: ServedModel) -> None:
        """Nothing begins that is paused, or could not be recorded."""
        self._recorder.require_room()
        if served.paused:
            raise LimitError(
                f"Deployment {served.name!r} is paused by its operator: come back later.",
                retry_after=30.0,
                code="deployment-paused",
            )

    async def _decode_and_validate(self, admitted: AdmittedRequest, body: bytes, receipt: Receipt) -> ValidatedInputs:
        if len(body) > OFFLOAD_BYTES:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(None, self._read, admitted, body, receipt)
        return self._read(admitted, body, receipt)

    @staticmethod
    def _read(admitted: AdmittedRequest, body: bytes, receipt: Receipt) -> ValidatedInputs:
        """Decode (JSON of the protocol, read strictly), then validate (what this model's signature allows)."""
        request: InferRequest = decode_request(body)
        receipt.at = "validate"
        arrays = admitted.deployed.reader.read(request)
        wanted = None if not request.outputs else frozenset(output.name for output in request.outputs)
        return ValidatedInputs(arrays, request.id, wanted)

    @staticmethod
    def _screen(admitted: AdmittedRequest, inputs: ValidatedInputs, receipt: Receipt) -> ValidatedInputs:
        """Values outside the training range: refused or flagged, as the profile says."""
        outside = admitted.deployed.ranges.outside(inputs.arrays)
        if not outside:
            return inputs
        names = ", ".join(outside)
        if admitted.deployed.rules.refuse_outside_range:
            raise InputError(
                f"Outside the range that the model was trained on: {names}. This deployment answers within it only.",
                code="outside-training-range",
            )
        receipt.flag("screen", f"outside the training range: {names}")
        return msgspec.structs.replace(inputs, outside=outside)

    @staticmethod
    async def _infer(admitted: AdmittedRequest, inputs: ValidatedInputs) -> dict[str, Array]:
        """The sandboxed worker's answer, within the profile's time."""
        try:
            async with asyncio.timeout(admitted.deployed.rules.infer_seconds):
                return await admitted.served.infer(inputs.arrays, admitted.deployed.reader.batchable)
        except TimeoutError:
            raise LimitError(
                "The model did not answer in time: send fewer rows, or come back in a second.",
                retry_after=1.0,
                code="infer-timeout",
            ) from None

    @staticmethod
    def _harden(admitted: AdmittedRequest, inputs: ValidatedInputs, outputs: dict[str, Array]) -> list[dict[str, Any]]:
        """Exactly the promised outputs, rounded."""
        rows = next(iter(inputs.arrays.values())).shape[0] if admitted.deployed.reader.batchable else None
        hardened = admitted.deployed.hardener.harden(outputs, rows=rows)
        if inputs.wanted is None:
            return hardened
        return [output for output in hardened if output["name"] in inputs.wanted]

    @staticmethod
    def _respond(admitted: AdmittedRequest, inputs: ValidatedInputs, hardened: list[dict[str, Any]]) -> bytes:
        served = admitted.served
        answer = {"model_name": served.name, "model_version": str(served.version), "outputs": hardened}
        if inputs.request_id is not None:
            answer["id"] = inputs.request_id
        return orjson.dumps(answer)

    async def _record(
        self, admitted: AdmittedRequest, inputs: ValidatedInputs, answer: bytes, receipt: Receipt
    ) -> Answer:
        event = prediction_event(
            at=self._clock.now(),
            principal=admitted.principal,
            served=admitted.served,
            resource=admitted.deployed.resource_text,
            address=network_of(admitted.raw.address),
            client=admitted.raw.client,
            arrays=inputs.arrays,
            outside=inputs.outside,
            answer=answer,
            verdicts=receipt.summary(),
            decision=admitted.decision,
        )
        if admitted.deployed.rules.commit_before_answer:
            await self._recorder.commit(event)
        else:
            self._recorder.put(event)
        return Answer(200, answer, _JSON + admitted.allowance.headers(), event.id)

    def refuse(self, raw: RawRequest, error: Exception, receipt: Receipt) -> Answer:
        """The problem document for `error`, counted in the record."""
        if not isinstance(error, CasemateError):
            _LOG.error("The guard %s failed.", receipt.at, exc_info=error)
        principal = raw.principal
        refusal = Refusal(
            code=error.code if isinstance(error, CasemateError) else "internal",
            status=status_of(error),
            guard=receipt.at,
            action=raw.action,
            resource=f"{principal.project}/deployment:{raw.deployment}" if principal and raw.deployment else "",
            actor=principal.id if principal else "",
            credential=principal.credential if principal else _credential_of(error),
            address=network_of(raw.address),
        )
        receipt.id = self._recorder.count_refusal(refusal, raw.client)
        problem: Problem = problem_of(error, receipt=receipt.id)
        headers = problem.headers + (raw.allowance.headers() if raw.allowance else [])
        return Answer(problem.status, problem.body, headers, receipt.id)


def _credential_of(error: Exception) -> str:
    """Which credential was refused, when iam could tell: an expired or revoked one has an id."""
    return str(error.details.get("credential", "")) if isinstance(error, AuthError) else ""
