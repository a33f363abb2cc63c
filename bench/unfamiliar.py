"""Unfamiliar use: false alarms and found thefts on a synthetic mix, and what looking costs the keeper for each event.

The mix is made up, with a fixed seed, and stands for no real population: 500 credentials over 30 days, eight hours of use a
day, once in four minutes. 200 at one address; 100 that move between a line at home and a carrier's pool (8 networks in two /16) six
times a day; 75 that change between an office and a VPN of another provider three times a day; 100 behind a cloud's egress
pool (16 networks in four /16), any of them for each request; 25 that travel, to a new far network every five days, hours
apart. Then each of 250 is used once from a network that it never knew, a minute after its owner. Far is told by prefix alone, without a
file of places. Alarms are counted on the first day, when nothing is familiar yet, and on the 29 after it."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from casemate.core import Event, rfc3339
from casemate.iam import UnfamiliarUse

START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS, MINUTES, EVERY = 30, 480, 4
MIX = {"one address": 200, "line and carrier": 100, "office and VPN": 75, "cloud egress pool": 100, "travelling": 25}
THEFTS = 250
SPEED = 200_000


def main() -> None:
    rng = random.Random(20260105)
    watch, alarms, held = UnfamiliarUse(), Counter[tuple[str, bool]](), {}
    for group, count in MIX.items():
        for number in range(count):
            credential = f"key_{group}_{number}"
            held[credential] = group, network(rng)
            for day, address, minute in uses(group, rng, held[credential][1]):
                for _ in watch.look([event(credential, address, day, minute)]):
                    alarms[group, day == 0] += 1
    rows = []
    for group, count in MIX.items():
        for first, days in ((True, 1), (False, DAYS - 1)):
            when = "on the first day" if first else "a day, afterwards"
            rate = 1000 * alarms[group, first] / count / days
            rows.append({"name": f"false alarms per 1,000 credentials {when}: {group}", "value": round(rate, 2)})
    quiet = sum(alarms[group, False] for group in MIX) / sum(MIX.values()) / (DAYS - 1) * 1000
    rows.append(
        {
            "name": "false alarms per 1,000 credentials a day, afterwards: the whole mix",
            "value": round(quiet, 2),
        }
    )
    rows.append({"name": "thefts found", "value": thefts(watch, held, rng), "beside": THEFTS, "ratio": None})
    rows[-1]["ratio"] = round(rows[-1]["value"] / THEFTS, 3)
    rows.append({"name": "one more event of a known network", "value": round(cost() * 1e6, 2), "unit": "us"})
    print(json.dumps(rows))


def uses(group: str, rng: random.Random, home: str) -> Iterator[tuple[int, str, int]]:
    """Day, address and minute of the day of each use."""
    other = network(rng)
    carrier = [f"{other}.{rng.randrange(256)}.9" if n % 2 else f"{network(rng)}.{n}.9" for n in range(2)]
    carrier += [f"{one.rsplit('.', 2)[0]}.{rng.randrange(256)}.9" for one in carrier for _ in range(3)]
    pool = [f"{base}.{rng.randrange(256)}.7" for base in [network(rng) for _ in range(4)] for _ in range(4)]
    address = at_home = f"{home}.1.5"
    for day in range(DAYS):
        if group == "travelling" and day % 5 == 0:
            address = f"{network(rng)}.1.5"
        moves = {"line and carrier": 6, "office and VPN": 3}.get(group, 0)
        changes = set(rng.sample(range(0, MINUTES, EVERY), moves))
        for minute in range(0, MINUTES, EVERY):
            if minute in changes and group == "line and carrier":
                address = rng.choice(carrier) if address == at_home else at_home
            elif minute in changes:
                address = f"{other}.8.8" if address == at_home else at_home
            elif group == "cloud egress pool":
                address = rng.choice(pool)
            yield day, address, minute


def thefts(watch: UnfamiliarUse, held: dict[str, tuple[str, str]], rng: random.Random) -> int:
    """How many of them are told, of credentials that were used just before."""
    found = 0
    for credential in rng.sample(sorted(held), THEFTS):
        watch.look([event(credential, f"{held[credential][1]}.1.5", DAYS + 1, 0)])
        found += len(watch.look([event(credential, f"{network(rng)}.66.6", DAYS + 1, 1)])) > 0
    return found


def cost() -> float:
    """Seconds for one event, of which all but the first come from where the last one came from."""
    watch, events = UnfamiliarUse(), [event(f"key_{n % 1000}", f"198.51.{n % 100}.7", 0, 0) for n in range(SPEED)]
    start = time.perf_counter()
    watch.look(events)
    return (time.perf_counter() - start) / SPEED


def network(rng: random.Random) -> str:
    """Of a /16 that belongs to no site."""
    return f"{rng.randrange(20, 90)}.{rng.randrange(256)}"


def event(credential: str, address: str, day: int, minute: int) -> Event:
    at = rfc3339(START + timedelta(days=day, minutes=minute))
    return Event(
        id="evt_0",
        at=at,
        kind="prediction",
        actor="svc_a",
        credential=credential,
        outcome="done",
        facts={"address": address},
    )


if __name__ == "__main__":
    main()
