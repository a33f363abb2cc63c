"""Few long acts at once: one principal cannot take every place, and keys take none of the owner's."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from casemate.console.places import LONG_ACTS, Places
from casemate.core import LimitError


def test_places_are_few_and_shared() -> None:
    places = Places()
    with ExitStack() as held:
        for _ in range(LONG_ACTS - 1):
            held.enter_context(places.take("svc_a", owner=False))
        with pytest.raises(LimitError) as refused, places.take("svc_a", owner=False):
            pass
        assert (refused.value.code, refused.value.retry_after > 0) == ("too-busy", True)
        held.enter_context(places.take("svc_b", owner=False))
        with pytest.raises(LimitError), places.take("svc_c", owner=False):
            pass
        for _ in range(LONG_ACTS):
            held.enter_context(places.take("local:0", owner=True))
        with pytest.raises(LimitError), places.take("local:0", owner=True):
            pass
    with places.take("svc_a", owner=False):
        pass


def test_a_place_is_given_back_when_the_act_fails() -> None:
    places = Places()
    for _ in range(3 * LONG_ACTS):
        with pytest.raises(KeyError), places.take("svc_a", owner=False):
            raise KeyError
