"""Deploy, roll back, pause: recorded, signed, verified before the switch, undone when the switch fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from casemate.core import (
    AssetKind,
    CasemateError,
    ConflictError,
    Digest,
    Environment,
    NotFoundError,
    Principal,
    Profile,
    Ref,
    StorageError,
    checked_name,
)
from casemate.registry.admission import admitted
from casemate.registry.cards import check_card
from casemate.registry.datasets import writable
from casemate.registry.deployments_state import (
    KIND,
    Change,
    Deployment,
    DeploymentRecord,
    changed,
    deployments_of,
    promoted_as_strict,
)
from casemate.registry.endings import end_signer, end_version
from casemate.registry.evaluation_records import check_promotable
from casemate.registry.human_approval import human_approval
from casemate.registry.models import Models
from casemate.registry.revocations import revoked_digests
from casemate.registry.stores import Pen, Stores
from casemate.registry.versions import find_version
from casemate.signing import VerifiedModel, VersionIdentity


class Rollout(Protocol):
    """Brings the gateways to what is recorded.

    `converge`: returns when what is recorded of `name` at entry `number` serves. `heed`: returns when nothing answers any
    more that the ledger pauses or revokes, and waits for no model.
    Raises: CasemateError: it could not, or nobody knows; what served before may still serve.
    """

    def converge(self, name: str, number: int) -> None: ...
    def heed(self) -> None: ...


Decided = tuple[Environment, Profile]  # for which a change was allowed; what is not so any more is not changed


class Deployments:
    """The deployments of one project. Args: pen, rollout: None where nothing may be changed."""

    def __init__(self, stores: Stores, pen: Pen | None = None, *, rollout: Rollout | None = None) -> None:
        self._stores, self._pen, self._rollout = stores, pen, rollout
        self._models = Models(stores)
        self._switches: dict[str, threading.Lock] = {}  # by name: one change at a time; a pause waits for none

    def all(self) -> dict[str, Deployment]:
        """name -> deployment. Raises: VerificationError: the signed state was altered."""
        return deployments_of(self._stores)

    def find(self, name: str) -> Deployment:
        """Raises: NotFoundError."""
        found = self.all().get(name)
        if found is None:
            raise NotFoundError(f"There is no deployment {name[:80]!r}: see casemate deployment list.")
        return found

    def revoked(self) -> frozenset[Digest]:
        """What must answer nobody, whatever is recorded of a deployment. Raises: VerificationError."""
        return revoked_digests(self._stores)

    def newest(self) -> list[dict[str, Any]]:
        """A row for each deployment, by name."""
        return [deployment.summary() for _, deployment in sorted(self.all().items())]

    def show(self, name: str) -> dict[str, Any]:
        """One deployment with its history. Raises: NotFoundError."""
        found = self.find(name)
        return {**found.summary(), "history": list(found.history)}

    def human_approval(
        self, ref: Ref, environment: Environment, is_person: Callable[[str], bool]
    ) -> tuple[Digest | None, bool]:
        """As `registry.human_approval`: the digest that `ref` means, and whether a person approved it there."""
        return human_approval(self._stores, ref, environment, is_person)

    def load(self, name: str) -> tuple[Deployment, VerifiedModel]:
        """What a gateway serves under `name`: verified, approved, not revoked, now. The caller closes the model.

        Raises: NotFoundError; PolicyError; VerificationError.
        """
        found = self.find(name)
        return found, self._verified(name, found.model, found.environment, found.profile)

    def deploy(
        self,
        name: str,
        ref: Ref,
        *,
        actor: Principal,
        intent: str,
        profile: Profile | None = None,
        environment: Environment | None = None,
        decided: Decided | None = None,
        reason: str = "",
    ) -> dict[str, Any]:
        """Serve a model version under `name`. What is not stated stays as it was; at first `standard` in `dev`.

        Returns: name, version, previous (its version, or None), number.
        Raises: PolicyError `not-approved`, `card-incomplete`, `not-evaluated`, `evaluation-failed`, `open-outside-dev`,
            `strict-stays`; ConflictError `environment-fixed`; `changed-meanwhile`:
            what was not stated is not what was decided on; NotFoundError; VerificationError: altered or `revoked`; what
            the rollout raised, and then what served before serves on; StorageError `outcome-unknown`: it could neither
            be carried out nor undone.
        """
        checked_name(name, what="deployment")
        with self._switch(name):
            last = self.all().get(name)
            environment = environment or (last.environment if last else Environment.DEV)
            profile = profile or (last.profile if last else Profile.STANDARD)
            if last and last.environment is not environment:
                raise ConflictError(
                    f"{name} is in {last.environment}: deploy to {environment} under another name.",
                    code="environment-fixed",
                )
            _check_decided(name, decided, (environment, profile))
            about = find_version(self._stores, AssetKind.MODEL, ref).about
            self._promoted(name, about, environment, profile).close()
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

    def rollback(
        self,
        name: str,
        *,
        actor: Principal,
        intent: str,
        decided: Decided | None = None,
        reason: str = "",
        only: Digest | None = None,
    ) -> dict[str, Any]:
        """Serve the previous distinct version again, verified again before anything switches.

        Args: only: the digest that it was decided on; None takes whatever is the previous one.
        Raises: ConflictError `nothing-earlier`, `changed-meanwhile`; as `deploy`.
        """
        with self._switch(name):
            last = self.find(name)
            _check_decided(name, decided, (last.environment, last.profile))
            if not last.earlier:
                raise ConflictError(f"{name} has no earlier version to return to.", code="nothing-earlier")
            target = last.earlier[0]
            if only is not None and target.digest != only:
                raise _changed_meanwhile(name)
            # The way out waits for no gate of since then.
            known = target.digest in promoted_as_strict(self._stores, name)
            load = self._verified if known else self._promoted
            load(name, target, last.environment, last.profile).close()
            record = changed(last, Change.ROLLED_BACK, actor, reason, model=target)
            return self._carry_out(record, last, intent)

    def pause(
        self, name: str, *, actor: Principal, intent: str, decided: Decided | None = None, reason: str = ""
    ) -> dict[str, Any]:
        """Stop answering under `name` until it is resumed. It waits for no other change, and is never undone.

        Whoever may pause may do so under any profile, so `decided` binds the environment alone.

        Returns: as `deploy`, and confirmed: False: a gateway has not said yet that it stopped; it follows by itself.
        Raises: NotFoundError; ConflictError `changed-meanwhile`.
        """
        pen, _ = self._writing()
        with pen.deciding:
            last = self.find(name)
            _check_decided(name, decided and (decided[0], last.profile), (last.environment, last.profile))
            record = changed(last, Change.PAUSED, actor, reason, paused=True)
            number = pen.commit([(KIND, msgspec.to_builtins(record))], intent)
        return {**_answer(record, last, number), "state": "paused", "confirmed": self._heeded()}

    def resume(
        self, name: str, *, actor: Principal, intent: str, decided: Decided | None = None, reason: str = ""
    ) -> dict[str, Any]:
        """Answer again, once the model has been verified again. Raises: as `deploy`."""
        with self._switch(name):
            last = self.find(name)
            _check_decided(name, decided, (last.environment, last.profile))
            self._verified(name, last.model, last.environment, last.profile).close()
            record = changed(last, Change.RESUMED, actor, reason)
            return {**self._carry_out(record, last, intent), "state": "serving"}

    def revoke(
        self,
        ref: Ref,
        *,
        actor: Principal,
        intent: str,
        reason: str,
        kind: AssetKind = AssetKind.MODEL,
        cascade: bool = False,
    ) -> dict[str, Any]:
        """End a version for good: it is used for nothing again, and what serves it is paused with it, in one commit.

        Args: cascade: end what was made from it, too, as `revocations.descendants_of` finds it.
        Returns: as `pause`, and paused: the names of deployments; descendants: what was made from it, ended or not;
            altered: versions that may have been, and nobody can tell.
        Raises: NotFoundError; InputError `no-reason`.
        """
        pen, _ = self._writing()
        ended = end_version(self._stores, pen, ref, kind, actor=actor, intent=intent, reason=reason, cascade=cascade)
        return {**ended, "confirmed": self._heeded()}

    def end_signer(
        self, name: str, *, actor: Principal, intent: str, reason: str, cascade: bool = False
    ) -> dict[str, Any]:
        """As `end_signer`, and confirmed, as `pause`."""
        pen, _ = self._writing()
        ended = end_signer(self._stores, pen, name, actor=actor, intent=intent, reason=reason, cascade=cascade)
        return {**ended, "confirmed": self._heeded()}

    def _verified(self, name: str, about: VersionIdentity, environment: Environment, profile: Profile) -> VerifiedModel:
        return self._models.load_version(admitted(self._stores, name, about, environment, profile))

    def _promoted(self, name: str, about: VersionIdentity, environment: Environment, profile: Profile) -> VerifiedModel:
        """As `_verified`, of a version that begins to serve: `strict` takes only what has a whole card, was
        evaluated and passed.
        """
        version = admitted(self._stores, name, about, environment, profile)
        if profile is Profile.STRICT:
            check_card(self._stores, version)
            check_promotable(self._stores, version)
        return self._models.load_version(version)

    def _carry_out(self, record: DeploymentRecord, last: Deployment | None, intent: str) -> dict[str, Any]:
        pen, rollout = self._writing()
        with pen.deciding:
            self._check_still(record, last)
            number = pen.commit([(KIND, msgspec.to_builtins(record))], intent)
            if last:
                pen.switching[record.name] = frozenset({last.digest, *(about.digest for about in last.earlier)})
        try:
            rollout.converge(record.name, number)
        except BaseException as error:
            try:
                _restore(pen, rollout, record, number, intent)
            except CasemateError as failed:
                raise _outcome_unknown(record.name, error, failed) from error
            raise
        finally:
            with pen.deciding:
                pen.switching.pop(record.name, None)
        return _answer(record, last, number)

    def _check_still(self, record: DeploymentRecord, last: Deployment | None) -> None:
        """What `record` was decided on still holds: a pause that came since stays, and the version was not deleted."""
        now = self.all().get(record.name)
        if (now.number if now else 0) != (last.number if last else 0):
            raise _changed_meanwhile(record.name)
        find_version(self._stores, AssetKind.MODEL, Ref(record.model.name, record.model.number, record.model.project))

    def _heeded(self) -> bool:
        """Whether the gateways say that nothing answers any more that is paused or revoked."""
        _, rollout = self._writing()
        try:
            rollout.heed()
        except CasemateError:
            return False
        return True

    def _switch(self, name: str) -> threading.Lock:
        return self._switches.setdefault(name, threading.Lock())

    def _writing(self) -> tuple[Pen, Rollout]:
        """What a change needs, asked for before anything is written."""
        if self._rollout is None:
            raise TypeError("built without a rollout: it reads only")
        return writable(self._pen), self._rollout


def _check_decided(name: str, decided: Decided | None, now: Decided) -> None:
    if decided is not None and decided != now:
        raise _changed_meanwhile(name)


def _changed_meanwhile(name: str) -> ConflictError:
    return ConflictError(
        f"{name} was changed meanwhile: look with casemate deployment show {name}, then try again.",
        code="changed-meanwhile",
    )


def _restore(pen: Pen, rollout: Rollout, record: DeploymentRecord, number: int, intent: str) -> None:
    """Undo the entry `number`: the ledger then says again what served before."""
    undone = msgspec.structs.replace(record, change=Change.RESTORED, undoes=number, reason="the rollout failed")
    with pen.deciding:
        restored = pen.commit([(KIND, msgspec.to_builtins(undone))], intent)
    with suppress(CasemateError):  # the gateways still serve what the ledger now says; they also read it at start
        rollout.converge(record.name, restored)


def _outcome_unknown(name: str, error: BaseException, failed: CasemateError) -> StorageError:
    told = error.message if isinstance(error, CasemateError) else f"It failed ({type(error).__name__})."
    return StorageError(
        f"The change of {name} is on record, and whether it is served is not known. {told} It could not be undone, "
        f"either: {failed.message} Look with casemate deployment show {name}; deploy again or roll back.",
        code="outcome-unknown",
        details={"code": error.code} if isinstance(error, CasemateError) else {},
    )


def _answer(record: DeploymentRecord, last: Deployment | None, number: int) -> dict[str, Any]:
    return {
        "name": record.name,
        "version": record.model.number,
        "previous": last.model.number if last else None,
        "digest": record.model.digest,
        "number": number,
    }
