"""The sets of walls under which a test of confined processes runs."""

from __future__ import annotations

import pytest

from casemate.sandbox import Need, Walls

FLOOR = Walls(namespaces=Need.NEVER, cgroups=Need.NEVER)
WALLS = [
    pytest.param(FLOOR, id="floor"),
    pytest.param(Walls(), id="all-that-is-present"),
    pytest.param(Walls(namespaces=Need.REQUIRED), id="namespaces", marks=pytest.mark.program("bwrap")),
]
