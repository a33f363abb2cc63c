"""Appends to a log from four threads until it is killed; says which events are on record, once they are."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from log_house import event, log_house

from casemate.core import Event
from casemate.storage import HomeLock


def main(folder: Path) -> None:
    house = log_house(folder)
    said = threading.Lock()

    def write(count: int) -> None:
        while True:
            events: list[Event] = [event(number) for number in range(count)]
            numbers = house.log.record(events)
            with said:
                for number, one in zip(numbers, events, strict=True):
                    print(number, one.id)
                sys.stdout.flush()

    with HomeLock(house.home.path):
        for count in (1, 1, 7, 130):
            threading.Thread(target=write, args=(count,), daemon=True).start()
        threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
