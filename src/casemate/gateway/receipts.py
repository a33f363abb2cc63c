"""The receipt of one request: what each guard said. Its id is that of the event in the audit log."""

from __future__ import annotations

from enum import StrEnum

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


class GuardVerdict(StrEnum):
    PASSED = "passed"
    FLAGGED = "flagged"
    REFUSED = "refused"
    SKIPPED = "skipped"


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
        self._note(guard, GuardVerdict.FLAGGED, why)

    def skip(self, guard: str, why: str) -> None:
        """Note that `guard` had nothing to judge."""
        self._note(guard, GuardVerdict.SKIPPED, why)

    def _note(self, guard: str, verdict: GuardVerdict, why: str) -> None:
        if self._notes is None:
            self._notes = {}
        self._notes[guard] = f"{verdict}: {why}"

    def summary(self) -> dict[str, str] | str:
        """For the record of an answer: `passed` when all ten did, which keeps it short; else `verdicts`."""
        return "passed" if self._notes is None else _ALL_PASSED | self._notes

    def verdicts(self, *, refused: str | None = None) -> dict[str, str]:
        """Each guard's verdict. Args: refused: the code with which the guard at `at` refused, None when all passed."""
        if refused is None:
            return _ALL_PASSED | (self._notes or {})
        place = GUARDS.index(self.at)
        passed = dict.fromkeys(GUARDS[:place], "passed") | (self._notes or {})
        return (
            passed
            | {self.at: f"{GuardVerdict.REFUSED}: {refused}"}
            | dict.fromkeys(GUARDS[place + 1 :], f"{GuardVerdict.SKIPPED}: refused before")
        )
