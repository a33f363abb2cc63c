"""Personal data in sentences: what our recognisers cover, beside Presidio on the same sentences, and how many sentences without any they hit.
The corpus is `bench/personal_corpus.py`: recognisers were shaped on its even sentences under seeds 1 to 3, and these figures are of its odd
ones under seeds 101 to 103. Its second part (sentences of presidio-evaluator, people of FakeNameGenerator.com) is there where
`make bench-personal` laid it. A value is covered when nine in ten of its letters and digits lie in spans that were found, of whatever
kind; all that Presidio names counts for it, places and dates too. A sentence without personal data is hit when a kind
that both have is found in it; Presidio's dates, places and nationalities do not count against it. Presidio runs with
`en_core_web_sm` and its defaults. Docstrings are those of Python's own library, which hold few people: what is found in them is
mostly a false alarm, and is counted as one. The adaptive writer knows the recognisers, and spells or splits what he writes."""

from __future__ import annotations

import ast
import json
import random
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean

import personal_corpus as corpus
from casemate.privacy import Kind, Recognition, find_spans
from casemate.privacy.recognise import THOROUGH, with_opinion
from casemate.privacy.second_opinion import SecondOpinion, is_installed

Spans = list[tuple[int, int]]
Finder = Callable[[str], Spans]
PERSONAL = {
    "PERSON", "EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "MAC_ADDRESS", "US_SSN", "US_ITIN", "US_PASSPORT", "UK_NINO",
    "UK_NHS", "MEDICAL_LICENSE",
}  # of Presidio's; that it finds dates, places, links and nationalities does not count against it  # fmt: skip
COVERED = 0.9  # of a value's letters and digits
DOCSTRINGS = 3000  # lines
ROWS: list[dict] = []


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def row(name: str, value: float, **more: object) -> None:
    ROWS.append({"name": name, "value": round(value, 4), **more})
    say(f"{name}: {value:.4f} {more}")


def ours(text: str) -> Spans:
    return [(s.start, s.end) for s in find_spans(text)]


def replaced(text: str) -> Spans:
    """What the treatment `spans` replaces: doubtful ones too."""
    return [(s.start, s.end) for s in find_spans(text, config=Recognition(least=THOROUGH))]


def is_covered(text: str, start: int, end: int, spans: Spans) -> bool:
    signs = [i for i in range(start, end) if text[i].isalnum()]
    return mean(any(a <= i < b for a, b in spans) for i in signs) >= COVERED


def coverage(finder: Finder, labelled: Iterable[corpus.Labelled]) -> tuple[Counter, Counter]:
    """(values, those that are covered), by kind."""
    total, covered = Counter(), Counter()
    for one in labelled:
        spans = finder(one.text)
        for kind, start, end in one.spans:
            total[kind] += 1
            covered[kind] += is_covered(one.text, start, end, spans)
    return total, covered


def docstring_lines() -> list[str]:
    """Lines of prose from the documentation inside Python's own library, drawn with a seed."""
    lines = []
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        try:
            tree = ast.parse(file.read_text())
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                lines += [line.strip() for line in (ast.get_docstring(node) or "").splitlines()]
    prose = sorted({line for line in lines if line.count(" ") > 4})
    return random.Random(11).sample(prose, min(DOCSTRINGS, len(prose)))


TRICKS: dict[str, Callable[[str], str]] = {
    "full-width digits": lambda text: text.translate({ord("0") + i: 0xFF10 + i for i in range(10)}),
    "invisible characters inside": "\u200b".join,
    "letters of other scripts": lambda text: text.translate(str.maketrans("aeocpxABEHKMPT", "аеосрхАВЕНКМРТ")),
    "odd spaces and dashes": lambda text: text.replace(" ", "\u2009").replace("-", "\u2011"),
    "two spaces for one": lambda text: text.replace(" ", "  "),
    "a letter o for each zero": lambda text: text.replace("0", "O"),
    "digits as words": lambda text: "".join(f" {['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'][int(c)]} " if c.isdigit() else c for c in text),
    "a full stop between all digits": lambda text: "".join(f"{c}." if c.isdigit() else c for c in text),
}  # fmt: skip
WITH_DIGITS = {Kind.CARD, Kind.IBAN, Kind.PHONE, Kind.NATIONAL_ID, Kind.EMAIL}


def tricked(trick: Callable[[str], str]) -> list[corpus.Labelled]:
    made = []
    for one in corpus.own(corpus.MEASURE, 101):
        for kind, start, end in one.spans:
            if kind in WITH_DIGITS and one.text.isascii():
                value = trick(one.text[start:end])
                text = one.text[:start] + value + one.text[end:]
                made.append(corpus.Labelled(text, ((kind, start, start + len(value)),)))
    return made


class Peers:
    """Presidio alone, and we with it; None where it is not installed."""

    def __init__(self) -> None:
        self.opinion = SecondOpinion() if is_installed() else None

    def presidio(self, text: str) -> Spans:
        return [(s.start, s.end) for s in self.opinion._analyzer.analyze(text, "en")]

    def both(self, text: str) -> Spans:
        return [(s.start, s.end) for s in with_opinion(find_spans(text), self.opinion(text))]

    def hits(self, text: str) -> bool:
        return any(s.entity_type in PERSONAL for s in self.opinion._analyzer.analyze(text, "en"))

    def beside(self, figure: Callable[[], str]) -> dict[str, str]:
        return {"beside": f"Presidio {figure()}"} if self.opinion else {}


def measure_coverage(peers: Peers, name: str, part: list[corpus.Labelled], *, kinds: bool) -> None:
    total, covered = coverage(ours, part)
    theirs = coverage(peers.presidio, part)[1] if peers.opinion else Counter()
    count = total.total()
    beside = peers.beside(lambda: f"{theirs.total() / count:.3f}")
    row(f"values covered, {name} ({count} values)", covered.total() / count, **beside, aim=">= 0.99")
    if peers.opinion:
        together = coverage(peers.both, part)[1].total()
        row(f"values covered with --second-opinion, {name}", together / count, **beside, aim=">= 0.99")
    thorough = coverage(replaced, part)[1].total()
    row(f"values that the treatment `spans` replaces, {name}", thorough / count, **beside, aim=">= 0.99")
    if peers.opinion:
        most = coverage(lambda text: [*replaced(text), *peers.both(text)], part)[1].total()
        row(f"the same with --second-opinion, {name}", most / count, **beside, aim=">= 0.99")
    formed = [k for k in total if k is not Kind.NAME and k is not Kind.ADDRESS]
    amount = sum(total[k] for k in formed)
    beside = peers.beside(lambda: f"{sum(theirs[k] for k in formed) / amount:.3f}")
    row(f"values with a form, {name} ({amount}: all but names and streets)", sum(covered[k] for k in formed) / amount, **beside, aim=">= 0.99")  # fmt: skip
    for kind in sorted(total) if kinds else ():
        beside = peers.beside(lambda kind=kind: f"{theirs[kind] / total[kind]:.3f}")
        row(f"covered: {kind} ({total[kind]})", covered[kind] / total[kind], **beside)


def measure_false_alarms(peers: Peers) -> None:
    benign = [text for seed in corpus.SEEDS[corpus.MEASURE] for text in corpus.benign(corpus.MEASURE, seed)]
    beside = peers.beside(lambda: str(sum(map(peers.hits, benign))))
    row(f"sentences without personal data that are hit (of {len(benign)})", sum(bool(ours(text)) for text in benign), **beside, aim="0")  # fmt: skip
    if peers.opinion:
        row(
            f"the same sentences with --second-opinion (of {len(benign)})",
            sum(bool(peers.both(t)) for t in benign),
            aim="0",
        )
    row(
        f"the same, of which `spans` replaces something (of {len(benign)})",
        sum(bool(replaced(text)) for text in benign),
    )
    prose = docstring_lines()
    found = [kind for text in prose for kind in {s.kind for s in find_spans(text)}]
    names = sum(kind is Kind.NAME for kind in found)
    few = prose[:600]
    beside = peers.beside(lambda: f"{100 * mean(map(peers.hits, few)):.1f} % of {len(few)} lines, all kinds")
    row(f"lines of docstrings in which a name is found (of {len(prose)})", 100 * names / len(prose), unit="%", **beside)
    row("lines of docstrings in which anything else is found", 100 * (len(found) - names) / len(prose), unit="%", aim="<= 0.5")  # fmt: skip


def measure_tricks(peers: Peers) -> None:
    for name, trick in TRICKS.items():
        made = tricked(trick)
        total, covered = coverage(ours, made)
        count = total.total()
        beside = peers.beside(lambda made=made, count=count: f"{coverage(peers.presidio, made)[1].total() / count:.3f}")
        row(f"adaptive: {name} ({count} values)", covered.total() / count, **beside)


def a_second(finder: Finder, texts: list[str]) -> float:
    start = time.perf_counter()
    for text in texts:
        finder(text)
    return len(texts) / (time.perf_counter() - start)


def main() -> None:
    peers = Peers()
    find_spans("Ann Smith 212-555-0142")  # loads the lists
    labelled = list(corpus.corpus(corpus.MEASURE))
    measure_coverage(peers, "all", labelled, kinds=True)
    if corpus.OUTSIDE.is_dir():
        own = [one for seed in corpus.SEEDS[corpus.MEASURE] for one in corpus.own(corpus.MEASURE, seed)]
        measure_coverage(peers, "our own sentences", own, kinds=False)
    else:
        say("The outside corpus is not there (make bench-personal): the figures are of our own sentences.")
    measure_false_alarms(peers)
    measure_tricks(peers)
    texts = [one.text for one in labelled]
    row("texts a second, one core", a_second(ours, texts), unit="/s", **peers.beside(lambda: f"{a_second(peers.presidio, texts[:200]):.0f}"))  # fmt: skip
    print(json.dumps(ROWS))


if __name__ == "__main__":
    main()
