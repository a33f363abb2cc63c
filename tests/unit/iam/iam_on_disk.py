"""The same house on a real home: real keys, signed ledger, audit log. As a program it dies in the middle of an act."""

import os
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from casemate.auditlog import Log
from casemate.core import Action, Principal, Resource, SystemClock, rfc3339
from casemate.iam import Access, Authorizer, Gate, Policies, issue_key, key_request, local_owner
from casemate.keys import Keeper, Purpose, init_keys
from casemate.storage import Ledger, LedgerPen, create_home, create_state_key, unwrap_state_key

OWNER = local_owner(1000)
MODEL = Resource("model", "spam")


class DiskHouse:
    def __init__(self, folder: Path) -> None:
        home = create_home(folder / "home", now=datetime.now(UTC))
        init_keys(folder / "keys")
        self.keeper = Keeper(folder / "keys")
        create_state_key(home.path, home.id, self.keeper)
        key = unwrap_state_key(home.path, home.id, self.keeper)
        public = load_pem_public_key(self.keeper.public_pem(Purpose.CHECKPOINT))
        self.engine, self.clock = home.open_database(), SystemClock()
        self.ledger = partial(Ledger, self.engine, home_id=home.id, key=key, public=public)
        self.pen = LedgerPen(self.engine, self.ledger(), self.keeper, home_id=home.id, key=key)
        self.log = Log(self.engine, keeper=self.keeper, origin="casemate.dev/test", public=public, clock=self.clock)
        self.access, self.authorizer = self.reader()
        self.gate = Gate(log=self.log, authorizer=self.authorizer, clock=self.clock)

    def reader(self) -> tuple[Access, Authorizer]:
        """What another process has."""
        access = Access(self.ledger(), owner_uid=1000)
        access.refresh()
        return access, Authorizer(access=access, policies=Policies(), clock=self.clock)

    def append(self, entries: list, intent: str = "int_test") -> None:
        self.pen.append(entries, intent, rfc3339(self.clock.now()))
        self.access.refresh()

    def holder(self, role: str) -> tuple[Principal, str]:
        request = key_request("somebody", role=role, scope="*", now=self.clock.now())
        issued = issue_key(request, issuer=OWNER)
        self.append(issued.entries)
        return self.authorizer.authenticate(issued.key), issued.key


if __name__ == "__main__":
    with DiskHouse(Path(sys.argv[1])).gate.open(OWNER, Action.MODEL_PUSH, MODEL, reason="dies here"):
        os.kill(os.getpid(), signal.SIGKILL)
