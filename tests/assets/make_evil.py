"""Makes every hostile file that the scanner's tests use; the same bytes each time.

    python tests/assets/make_evil.py FOLDER      # writes one folder per case, with its files

Harmless if somebody should load them all the same: a payload creates the empty file `opcodes.MARKER`, and a test fails
when that file appears. They are made anew for each test run rather than kept, so that no mail filter or virus scanner
stumbles over a checkout.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from evil_archives import all_archives
from evil_boosters import all_boosters
from evil_models import all_models
from evil_pickles import all_pickles
from evil_structures import all_structures

Case = tuple[dict[str, bytes], str]  # files by path, and the finding that a scan must make


def evil_cases() -> dict[str, Case]:
    """Every case by name."""
    alone = {f"pickle-{name}": case for name, case in all_pickles().items()}
    alone |= {f"archive-{name}": case for name, case in all_archives().items()}
    cases: dict[str, Case] = {name: ({"model.bin": data}, finding) for name, (data, finding) in alone.items()}
    return cases | all_models() | all_boosters() | all_structures()


def main(folder: Path) -> None:
    for name, (files, _) in evil_cases().items():
        for path, data in files.items():
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / path).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
