"""Fields of the pages: passwords are not shown, password managers may fill them, and whoever is signed in sees how to leave."""

from __future__ import annotations

import re
from importlib.resources import files

PAGES = files("casemate.console.pages")
TEMPLATES = {one.name: one.read_text() for one in (PAGES / "templates").iterdir() if one.name.endswith(".html")}
SCRIPTS = [one.read_text() for one in (PAGES / "static").iterdir() if one.name.endswith(".js")]
FIELDS = [field for text in TEMPLATES.values() for field in re.findall(r"<input\b[^>]*>", text)]


def test_passwords_are_not_shown_and_may_be_filled_in() -> None:
    shown = ('autocomplete="username"', 'id="invitation"')  # a name, and a code that is good once
    secret = [field for field in FIELDS if "password" in field and not any(one in field for one in shown)]
    assert secret
    for field in secret:
        assert 'type="password"' in field, field
        assert re.search(r'autocomplete="(current|new)-password"', field), field
    assert not [field for field in FIELDS if "onpaste" in field]
    assert not [script for script in SCRIPTS if re.search(r"""["']paste["']""", script)]


def test_the_account_shows_how_to_sign_out() -> None:
    assert re.search(r"<button[^>]*>\s*Sign out", TEMPLATES["account.html"], re.IGNORECASE)
