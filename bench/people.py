"""Sign-ins a second with the argon2id cost that ships (64 MiB, three passes, four lanes), and a session's lookup.

A real database on disk, sealed rows and all; the audit log is in memory. Each sign-in takes a recovery code, so none waits
for the next time step. Two threads sign in at once, as many as are let in.
"""

import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit" / "iam"))

import pyotp
from people_house import HERE, WORDS, PeopleHouse

from casemate.core import CasemateError
from casemate.iam import Passwords
from casemate.iam.passwords import PasswordConfig

ROUNDS = 8  # sign-ins of each thread


def seconds(act, repeat: int) -> float:
    def once() -> float:
        start = time.perf_counter()
        for _ in range(repeat):
            act()
        return (time.perf_counter() - start) / repeat

    return statistics.median(once() for _ in range(3))


def main() -> None:
    cost = PasswordConfig()
    with tempfile.TemporaryDirectory() as folder:
        house = PeopleHouse(Path(folder))
        people = [house.enrol(name) for name in ("ada", "bob")]
        house.passwords = house.sign_in.passwords = Passwords(cost)
        made = [house.invite(name).code for name in ("eve", "kim")]
        for who, code in zip(people, made, strict=True):  # the enrolled ones had the tests' cheap hash
            offered = house.enrolment.begin(code, WORDS)
            done = house.enrolment.confirm(code, pyotp.TOTP(offered.secret).at(house.clock.at), HERE)
            who.name, who.recovery = (
                house.access.snapshot.people[done.signed_in.started.session.principal].name,
                done.recovery_codes,
            )
            house.clock.advance(30)

        def work(who) -> None:
            for code in who.recovery[:ROUNDS]:
                house.sign_in.sign_in(who.name, WORDS, code, HERE)

        threads = [threading.Thread(target=work, args=(who,)) for who in people]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rate = ROUNDS * len(people) / (time.perf_counter() - start)
        signed_in = house.sign_in.sign_in(people[0].name, WORDS, people[0].recovery[-1], HERE)
        hashed = house.passwords.hash(WORDS)

        def refused() -> None:
            house.clock.advance(3600)
            try:
                house.sign_in.sign_in("nobody", WORDS, "000000", HERE)
            except CasemateError:
                return

        lookup = seconds(lambda: house.authorizer.authenticate(signed_in.started.token), 300)
        hashing = seconds(lambda: house.passwords.verify(hashed, WORDS), 5)
        refusing = seconds(refused, 5)
        house.engine.dispose()
    about = f"argon2id, {cost.memory >> 10} MiB, {cost.passes} passes, {cost.lanes} lanes"
    rows = [
        (f"one hash ({about})", hashing * 1e3, "ms"),
        (f"sign-ins, {cost.at_once} at once", rate, "/s"),
        ("an unknown name refused", refusing * 1e3, "ms"),
        ("session lookup", lookup * 1e6, "us"),
    ]
    print(json.dumps([{"name": name, "value": round(value, 2), "unit": unit} for name, value, unit in rows]))


if __name__ == "__main__":
    main()
