"""The receipt of one request: what each guard said. Its id is that of the event in the audit log."""

from __future__ import annotations

GUARDS = (
    "authenticate",
    "authorise",
    "limit",
    "decode",
    "validate",
    "screen",
    "infer",
    "harden",
    "respond",
    "record",
)


_ALL_PASSED = dict.fromkeys(GUARDS, "passed")


class Receipt:
    """Written by the pipeline as the request goes through. `at` is the guard that it stands before."""

    __slots__ = ("_notes", "at", "id")

    def __init__(self) -> None:
        self.id = ""
        self.at = GUARDS[0]
        self._notes: dict[str, str] | None = None

    def flag(self, guard: str, why: str) -> None:
        """Note that `guard` let the request pass with a doubt."""
        if self._notes is None:
            self._notes = {}
        self._notes[guard] = f"flagged: {why}"

    def summary(self) -> dict[str, str] | str:
        """For the record of an answer: `passed` when all ten did, which keeps it short; else each guard's verdict."""
        return "passed" if self._notes is None else _ALL_PASSED | self._notes
