"""Drives one target by coverage: `python fuzz/one.py TARGET [options of libFuzzer] CORPUS...`. Started by fuzz/run.py."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "assets"))
with atheris.instrument_imports(include=["casemate.scanning"]):
    import fuzz_targets


def main() -> None:
    target = fuzz_targets.TARGETS[sys.argv[1]]
    for folder in (Path(name) for name in sys.argv[2:] if not name.startswith("-")):
        for (
            seed
        ) in folder.iterdir():  # libraries load their parts at first use, which runs code: the seeds call for them
            target(seed.read_bytes())
    armed = fuzz_targets.Armed()

    def one_input(data: bytes) -> None:
        with armed:
            target(data)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
