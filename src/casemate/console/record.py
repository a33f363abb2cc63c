"""What the log keeps of a control plane's answer: named members only, so no secret and no output of anybody's script."""

from typing import Any

# What the log keeps of an answer, and a repeated request is answered: which thing, in what state, by whose word.
_RECORDED = frozenset(
    """id name version digest verdict created state previous number paused used_by environment profile project provider
    principal role scope rate life requested_at answer_by granted_by granted_at expires_at ended_by ended_at
    ended_because answer reason replaces old_expires_at approver self_approved at ok checked kek rewrapped failed size root seconds warning new aside
    judged rule count screened title items kept revoked ended open due_at unanswered assigned every within first_at fingerprint questions agree of copy against""".split()  # noqa: SIM905 a table to read, not a column of quotes
)
_FINDINGS = {"findings": ("id", "severity"), "problems": ("id", "severity", "location", "problem", "seq")}
_BLOCKED = ("kind", "mode", "target")  # of what the walls refused to a training script
_NAMED, _TARGET = 100, 200  # attempts, and characters of each, that the log keeps


def recordable_answer(answer: Any) -> Any:
    """An answer as the log may hold it for ever: what is named here, so no secret and no output of anybody's script.

    What the walls refused to a script is named, bounded: an auditor must see what it tried.
    """
    if not isinstance(answer, dict):
        return None
    kept = {name: answer[name] for name in _RECORDED & answer.keys() if _is_plain(answer[name])}
    for name, parts in _FINDINGS.items():
        if name in answer:
            kept[name] = [{part: one[part] for part in parts if part in one} for one in answer[name][:20]]
    if blocked := answer.get("blocked"):  # names that a script chose, so few of them and not much of each
        kept["blocked"] = [
            {name: _printable(one[name]) for name in _BLOCKED if name in one} for one in blocked[:_NAMED]
        ]
        kept["blocked_count"] = len(blocked)
    return dict(sorted(kept.items()))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:_TARGET])


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | None) or (
        isinstance(value, list) and all(isinstance(one, str | int) for one in value)
    )
