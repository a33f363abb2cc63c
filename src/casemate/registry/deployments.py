"""Deploy, roll back, pause: recorded, signed, verified before the switch, undone when the switch fails."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from casemate.core import (
    AssetKind,
    CasemateError,
    ConflictError,
    Environment,
    InputError,
    NotFoundError,
    PolicyError,
    Principal,
    Profile,
    Ref,
    VerificationError,
    checked_name,
)
from casemate.registry.approvals import check_approved, check_not_revoked, revocation
from casemate.registry.datasets import writable
from casemate.registry.deployments_state import KIND, Change, Deployment, DeploymentRecord, deployments_of
from casemate.registry.models import Models
from casemate.registry.stores import Pen, Stores
from casemate.registry.versions import find_version
from casemate.signing import VerifiedModel, VersionIdentity


class Rollout(Protocol):
    """Brings the gateways to a deployment's recorded state: returns when what is recorded serves.

    Args: name: of the deployment. number: of the ledger entry to reach.
    Raises: CasemateError: it could not; what served before still serves.
    """

    def converge(self, name: str, number: int) -> None: ...


class Deployments:
    """The deployments of one project. Args: pen, rollout: None where nothing may be changed."""

    def __init__(self, stores: Stores, pen: Pen | None = None, *, rollout: Rollout | None = None) -> None:
        self._stores, self._pen, self._rollout = stores, pen, rollout
        self._models = Models(stores)
        self._lock = threading.Lock()

    def all(self) -> dict[str, Deployment]:
        """name -> deployment. Raises: VerificationError: the signed state was altered."""
        return deployments_of(self._stores)

    def find(self, name: str) -> Deployment:
        """Raises: NotFoundError."""
        found = self.all().get(name)
        if found is None:
            raise NotFoundError(f"There is no deployment {name[:80]!r}: see casemate deployment list.")
        return found

    def newest(self) -> list[dict[str, Any]]:
        """A row for each deployment, by name."""
        return [deployment.summary() for _, deployment in sorted(self.all().items())]

    def show(self, name: str) -> dict[str, Any]:
        """One deployment with its history. Raises: NotFoundError."""
        found = self.find(name)
        return {**found.summary(), "history": list(found.history)}

    def load(self, name: str) -> tuple[Deployment, VerifiedModel]:
        """What a gateway serves under `name`: verified, approved, not revoked, now. The caller closes the model.

        Raises: NotFoundError; PolicyError; VerificationError.
        """
        found = self.find(name)
        return found, self._verified(found.model, found.environment, found.profile)

    def deploy(
        self,
        name: str,
        ref: Ref,
        *,
        actor: Principal,
        intent: str,
        profile: Profile | None = None,
        environment: Environment | None = None,
        reason: str = "",
    ) -> dict[str, Any]:
        """Serve a model version under `name`. What is not stated stays as it was; at first `standard` in `dev`.

        Returns: name, version, previous (its version, or None), number.
        Raises: PolicyError `not-approved`, `open-outside-dev`; ConflictError `environment-fixed`; NotFoundError;
            VerificationError: altered or `revoked`; what the rollout raised, and then what served before serves on.
        """
        checked_name(name, what="deployment")
        with self._lock:
            last = self.all().get(name)
            environment = environment or (last.environment if last else Environment.DEV)
            profile = profile or (last.profile if last else Profile.STANDARD)
            if last and last.environment is not environment:
                raise ConflictError(
                    f"{name} is in {last.environment}: deploy to {environment} under another name.",
                    code="environment-fixed",
                )
            about = find_version(self._stores, AssetKind.MODEL, ref).about
            self._verified(about, environment, profile).close()
            record = DeploymentRecord(
                name=name,
                project=self._stores.project,
                environment=environment,
                profile=profile,
                model=about,
                paused=False,
                change=Change.DEPLOYED,
                by=actor.id,
                reason=reason,
            )
            return self._carry_out(record, last, intent)

    def rollback(self, name: str, *, actor: Principal, intent: str, reason: str = "") -> dict[str, Any]:
        """Serve the previous distinct version again, verified again before anything switches.

        Raises: ConflictError `nothing-earlier`; as `deploy`.
        """
        with self._lock:
            last = self.find(name)
            if not last.earlier:
                raise ConflictError(f"{name} has no earlier version to return to.", code="nothing-earlier")
            target = last.earlier[0]
            self._verified(target, last.environment, last.profile).close()
            record = _changed(last, Change.ROLLED_BACK, actor, reason, model=target)
            return self._carry_out(record, last, intent)

    def pause(self, name: str, *, actor: Principal, intent: str, reason: str = "") -> dict[str, Any]:
        """Stop answering under `name` until it is resumed. Raises: NotFoundError; what the rollout raised."""
        with self._lock:
            last = self.find(name)
            record = _changed(last, Change.PAUSED, actor, reason, paused=True)
            return {**self._carry_out(record, last, intent), "state": "paused"}

    def resume(self, name: str, *, actor: Principal, intent: str, reason: str = "") -> dict[str, Any]:
        """Answer again, once the model has been verified again. Raises: as `deploy`."""
        with self._lock:
            last = self.find(name)
            self._verified(last.model, last.environment, last.profile).close()
            record = _changed(last, Change.RESUMED, actor, reason)
            return {**self._carry_out(record, last, intent), "state": "serving"}

    def revoke(self, ref: Ref, *, actor: Principal, intent: str, reason: str) -> dict[str, Any]:
        """End a model version for good: it is never deployed or loaded again, and what serves it is paused with it.

        Raises: NotFoundError; InputError `no-reason`.
        """
        if not reason:
            raise InputError("Say why, since it cannot be undone: --reason TEXT.", code="no-reason")
        with self._lock:
            version = find_version(self._stores, AssetKind.MODEL, ref)
            serving = [last for last in self.all().values() if last.digest == version.digest and not last.paused]
            pauses = [_changed(last, Change.PAUSED, actor, reason, paused=True) for last in serving]
            entries = [(KIND, msgspec.to_builtins(record)) for record in pauses]
            entry = revocation(self._stores, version, actor=actor, reason=reason)
            pen, rollout = self._writing()
            number = pen.commit([entry, *entries], intent)
            for record in pauses:
                with suppress(CasemateError):  # it stands, and a gateway follows the ledger by itself
                    rollout.converge(record.name, number)
        return {
            "name": version.about.name,
            "version": version.number,
            "digest": version.digest,
            "state": "revoked",
            "paused": [record.name for record in pauses],
        }

    def _verified(self, about: VersionIdentity, environment: Environment, profile: Profile) -> VerifiedModel:
        if profile is Profile.OPEN and environment is not Environment.DEV:
            raise PolicyError(
                f"The profile open takes walls down, and is refused in {environment}: use standard or strict.",
                code="open-outside-dev",
            )
        version = find_version(self._stores, AssetKind.MODEL, Ref(about.name, about.number, about.project))
        if version.about != about:
            raise VerificationError(
                f"{about} is not the version that was deployed: its record was altered.", code="digest-mismatch"
            )
        check_not_revoked(self._stores, version)
        check_approved(self._stores, version, environment)
        return self._models.load(Ref(about.name, about.number, about.project))

    def _carry_out(self, record: DeploymentRecord, last: Deployment | None, intent: str) -> dict[str, Any]:
        pen, rollout = self._writing()
        number = pen.commit([(KIND, msgspec.to_builtins(record))], intent)
        try:
            rollout.converge(record.name, number)
        except BaseException:
            _restore(pen, rollout, record, number, intent)
            raise
        return {
            "name": record.name,
            "version": record.model.number,
            "previous": last.model.number if last else None,
            "digest": record.model.digest,
            "number": number,
        }

    def _writing(self) -> tuple[Pen, Rollout]:
        """What a change needs, asked for before anything is written."""
        if self._rollout is None:
            raise TypeError("built without a rollout: it reads only")
        return writable(self._pen), self._rollout


def _restore(pen: Pen, rollout: Rollout, record: DeploymentRecord, number: int, intent: str) -> None:
    """Undo the entry `number`: the ledger then says again what served before."""
    undone = msgspec.structs.replace(record, change=Change.RESTORED, undoes=number, reason="the rollout failed")
    restored = pen.commit([(KIND, msgspec.to_builtins(undone))], intent)
    with suppress(CasemateError):  # the gateways still serve what the ledger now says; they also read it at start
        rollout.converge(record.name, restored)


def _changed(
    last: Deployment,
    change: Change,
    actor: Principal,
    reason: str,
    *,
    model: VersionIdentity | None = None,
    paused: bool = False,
) -> DeploymentRecord:
    return DeploymentRecord(
        name=last.name,
        project=last.project,
        environment=last.environment,
        profile=last.profile,
        model=model or last.model,
        paused=paused,
        change=change,
        by=actor.id,
        reason=reason,
    )
