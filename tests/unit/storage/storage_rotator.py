"""Rotates and retires until it is killed; a line for each step that is done."""

from __future__ import annotations

import sys
from pathlib import Path

from storage_house import House

from casemate.storage import DataKeys, HomeLock


def main(path: Path) -> None:
    house = House(path)
    with HomeLock(house.home.path):
        keys = DataKeys(house.home, house.engine, house.keeper.keyring)
        print("ready", flush=True)
        while True:
            print("rotated", keys.rotate().kek, flush=True)
            print("retired", keys.retire().kek, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
