"""How much of the log's room one key may take: requests by rate, and refused decisions counted beyond a few."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from casemate.core import Action, LimitError, Principal, Resource
from casemate.doors import BUCKETS, Buckets, Rate, Recorder, Refusal, network_of

# Each request is an entry of the log, or two, of about a kilobyte: people and their pipelines send some a second.
PRINCIPAL_RATE = Rate(per_second=20, burst=200)
ADDRESS_RATE = Rate(per_second=50, burst=500)  # behind which several principals may be
REFUSAL_RATE = Rate(per_second=0.5, burst=30)  # refused decisions with an entry of their own: 5 in a recorder's window


class RequestLimit:
    """How often one principal, and one address, may ask. Safe to call from several threads."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._principals = Buckets(capacity=BUCKETS, monotonic=monotonic)
        self._addresses = Buckets(capacity=BUCKETS, monotonic=monotonic)
        self._lock = threading.Lock()

    def count(self, principal: Principal, address: str) -> None:
        """Charge a request to both. Raises: LimitError `rate-limited`: it was one too many."""
        with self._lock:
            left = self._principals.take(principal.id, PRINCIPAL_RATE)
            whose, rate = "This key", PRINCIPAL_RATE
            if left >= 0:
                left = self._addresses.take(network_of(address), ADDRESS_RATE)
                whose, rate = "Your address", ADDRESS_RATE
        if left < 0:
            raise LimitError(
                f"{whose} asks too often: at most {rate.per_second:.0f} requests a second, {rate.burst:.0f} at once. "
                "Wait, then go on.",
                retry_after=-left,
                code="rate-limited",
            )


class DecisionRefusals:
    """Refused decisions on record: a principal's first ones each as an entry, what follows counted together."""

    def __init__(self, recorder: Recorder, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._recorder = recorder
        self._buckets = Buckets(capacity=BUCKETS, monotonic=monotonic)
        self._lock = threading.Lock()

    def is_counted(self, principal: Principal, action: Action, resource: Resource, address: str) -> bool:
        """Whether it was counted, so that it needs no entry of its own. What it was about is then told by its kind."""
        with self._lock:
            if self._buckets.take(principal.id, REFUSAL_RATE) >= 0:
                return False
        self._recorder.count_refusal(
            Refusal(
                code="forbidden",
                status=403,
                guard="authorise",
                action=action,
                resource=str(Resource(resource.kind, project=resource.project)),
                actor=principal.id,
                credential=principal.credential,
                address=network_of(address),
                project=resource.project,
            )
        )
        return True
