"""A person in a real browser, over TLS, at a server with all its processes: enrol, sign in, step up, add, revoke, sign out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyotp
import pytest
from real_chromium import Chromium, Page
from tiny_models import doubling_model

from casemate.core import SystemClock
from casemate.iam import Session
from casemate.keys import Keeper
from casemate.storage import SealedRows, open_home, unwrap_people_key

pytestmark = pytest.mark.program("chromium")

WORDS = "tidal-gravel-otter-plinth"


@dataclass
class Place:
    """A home, its server, and the address at which its passkeys work."""

    folder: Path
    url: str = ""

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CASEMATE_")}
        more = {"CASEMATE_KEYS": str(self.folder / "keys"), "XDG_CONFIG_HOME": str(self.folder / "config")}
        return {**kept, **more, "CASEMATE_DATA_PORT": "0", "CASEMATE_CONTROL_PORT": "0"}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "casemate", "--home", str(self.folder / "home"), *words]

    def run(self, *words: str) -> Any:
        done = subprocess.run(
            self.command(*words, "--json"),
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=300,
            check=True,
        )
        return json.loads(done.stdout)

    def invite(self, name: str, role: str = "owner") -> str:
        return str(self.run("user", "invite", name, "--role", role)["invitation"])

    def events(self) -> list[dict[str, Any]]:
        """Of sign-ins, the newest first."""
        found: list[dict[str, Any]] = self.run("audit", "log", "--kind", "sign-in")
        return found

    @contextmanager
    def sessions(self, person: str) -> Iterator[tuple[SealedRows, list[Session]]]:
        home = open_home(self.folder / "home")
        key = unwrap_people_key(home.path, home.id, Keeper(self.folder / "keys" / home.id))
        engine = home.open_database()
        rows = SealedRows(engine, key, home_id=home.id)
        person_id = self.run("user", "show", person)["id"]
        yield rows, [session for _, session in rows.of(person_id, Session, now=SystemClock().now())]
        engine.dispose()

    def make_stale(self, person: str) -> None:
        """As if the last second factor had been ten minutes ago."""
        with self.sessions(person) as (rows, found):
            for session in found:
                old = msgspec.structs.replace(session, verified_at=session.verified_at - timedelta(minutes=10))
                rows.put(session.row, old, ends_at=old.ends_at, principal=old.principal)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("browser"))
    made.run("init")
    process = subprocess.Popen(made.command("up"), stdout=subprocess.PIPE, text=True, env=made.environment)
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words[:1] == ["ready"], "the server did not become ready"
    made.url = dict(word.split("=", 1) for word in words[1:])["control"].replace("127.0.0.1", "localhost")
    yield made
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 0
    process.stdout.close()


@pytest.fixture(scope="module")
def browser(place: Place) -> Iterator[Chromium]:
    with Chromium(trust=place.folder / "home" / "tls" / "server.pem") as made:
        yield made


@pytest.fixture
def page(browser: Chromium) -> Iterator[Page]:
    with browser.page() as made:
        yield made
        complaints = made.happened("Log.entryAdded", lambda told: told["entry"]["text"])
        assert not [one for one in complaints if "Content Security Policy" in one or "TrustedHTML" in one], complaints
        assert not made.happened("Runtime.exceptionThrown", lambda told: told["exceptionDetails"])
        asked = made.happened("Network.requestWillBeSent", lambda told: told["request"]["url"])
        assert not [
            url for url in asked if url.startswith("http") and "//localhost:" not in url and "//127.0.0.1:" not in url
        ]


def enrol_with_passkey(page: Page, place: Place, name: str) -> list[str]:
    page.open(f"{place.url}/enrol")
    page.arrive("/enrol")
    page.fill("#invitation", place.invite(name))
    page.click("button[value=passkey]")
    page.until("document.querySelectorAll('#codes li').length === 10")
    codes = page.text("#codes").split()
    assert page.run("document.querySelector('#done').disabled"), "not before they are kept"
    page.click("#kept")
    page.click("#done")
    page.arrive("/account")
    return codes


def sign_out(page: Page) -> None:
    page.click("#sign-out")
    page.arrive("/")


def test_a_passkey_alone_enrols_signs_in_and_steps_up(page: Page, place: Place) -> None:
    page.authenticator()
    enrol_with_passkey(page, place, "ada")
    assert "passkey" in page.text(".facts")
    sign_out(page)
    page.open(f"{place.url}/account")
    page.arrive("/")  # nobody is signed in any more
    page.click("#passkey")
    page.arrive("/account")
    assert page.text("h1") == "ada"
    assert page.run("document.cookie") == "", "no script reads a cookie"
    kept = {one["name"]: one for one in page.cookies()}
    assert {"__Host-casemate", "__Host-casemate-device"} == set(kept)
    assert all(one["httpOnly"] and one["secure"] and one["sameSite"] == "Strict" for one in kept.values())
    newest = place.events()[0]
    assert (newest["outcome"], newest["facts"]["methods"]) == ("allowed", ["passkey"])

    place.make_stale("ada")
    before = {one["name"]: one["value"] for one in page.cookies()}["__Host-casemate"]
    page.open(f"{place.url}/account")
    page.arrive("/account")
    page.click("#recovery")  # wants a fresh second factor, which is asked for, and goes on then
    page.until("document.querySelector('#step-up').open")
    page.click("#step-up-passkey")
    page.until("document.querySelectorAll('#codes li').length === 10")
    after = {one["name"]: one["value"] for one in page.cookies()}["__Host-casemate"]
    assert before != after, "the session goes on under a new token"
    with place.sessions("ada") as (_, found):
        assert [one.methods for one in found] == [("passkey",)]


def test_a_password_an_app_then_a_passkey_beside_them(page: Page, place: Place) -> None:
    page.open(f"{place.url}/enrol")
    page.arrive("/enrol")
    page.fill("#invitation", place.invite("bob", "operator"))
    page.click("button[value=password]")
    page.fill("#password", WORDS)
    page.fill("#again", WORDS[:-1] + "x")
    page.click("#step-password button")
    page.until("document.querySelector('#status').innerText.includes('differ')")
    page.fill("#again", WORDS)
    page.click("#step-password button")
    page.until("!document.querySelector('#step-app').hidden && document.querySelector('#qr').naturalWidth > 0")
    secret = page.text("#secret").replace(" ", "")
    page.fill("#code", "000000")
    page.click("#step-app button")
    page.until("document.querySelector('#status').innerText.includes('does not fit')")
    page.fill("#code", pyotp.TOTP(secret).now())
    page.click("#step-app button")
    page.until("document.querySelectorAll('#codes li').length === 10")
    codes = page.text("#codes").split()
    page.click("#kept")
    page.click("#done")
    page.arrive("/account")

    page.authenticator()
    page.fill("#label", "work <b>laptop</b>")
    page.click("#add-form button")
    page.until("document.querySelectorAll('[data-remove]').length === 1")
    assert "work <b>laptop</b>" in page.text(".things")
    sign_out(page)

    page.fill("#name", "bob")
    page.fill("#password", "wrong-wrong-wrong")
    page.click("#second")
    page.until("document.querySelector('#status').innerText.includes('No sign-in with this passkey')")
    page.fill("#password", WORDS)
    page.click("#second")
    page.arrive("/account")
    assert place.events()[0]["facts"]["methods"] == ["pwd", "passkey"]
    sign_out(page)
    page.fill("#name", "bob")
    page.fill("#password", WORDS)
    page.fill("#code", codes[0])
    page.click("#password-form button")
    page.arrive("/account")

    page.click("[data-remove]")
    page.click("#sure-yes")
    page.until("document.readyState === 'complete' && document.body.innerText.includes('None yet.')")
    assert place.run("user", "show", "bob")["factors"] == ["password", "totp"]


def test_a_passkey_signs_an_approval_of_what_the_page_shows(page: Page, place: Place, tmp_path: Path) -> None:
    """Pushed by the machine's owner, approved by a person with a passkey that is pinned; then it counts in strict."""
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    place.run("model", "push", "forest", str(tmp_path / "model.onnx"))
    page.authenticator()
    enrol_with_passkey(page, place, "eve")
    page.open(f"{place.url}/approve?model=forest@1&environment=staging")
    page.arrive("/approve")
    page.click("#which button")
    page.until("!document.querySelector('#found').hidden")
    assert not page.run("document.querySelector('#with-passkey').checkVisibility()"), "none is pinned yet"
    assert "casemate approver pin eve" in page.text("#no-passkey")

    refused = place.command("approver", "pin", "eve", "--passkey", "none")
    said = subprocess.run(refused, capture_output=True, text=True, env=place.environment, timeout=60, check=False)
    assert said.returncode == 2
    mine = re.findall(r"pky_[A-Za-z0-9_-]+", said.stderr)[0]
    pinned = place.run("approver", "pin", "eve", "--passkey", mine, "--address", place.url)
    assert pinned["kind"] == "passkey"
    page.click("#which button")
    page.until("document.querySelector('#with-passkey').checkVisibility()")
    digest = place.run("model", "show", "forest@1")["digest"]
    assert page.text("#digest") == digest
    page.fill("#reason", "examined on the ward's data")
    page.click("#with-passkey")
    page.until("document.querySelector('#status').innerText.includes('with your own signature')")
    assert "1 of the 2" in page.text("#signed")
    (approval,) = place.run("model", "show", "forest@1")["approvals"]
    assert (approval["environment"], approval["own_signature"]) == ("staging", True)
    changed = place.run("audit", "log", "--kind", "approvers")
    assert [one["name"] for one in changed[0]["facts"]["pinned"]] == ["eve"]
    page.size(360, 740)
    for theme in ("light", "dark"):
        page.theme(theme)
        assert page.run("document.documentElement.scrollWidth") <= 360
        assert page.run(_UNREADABLE) == []


def test_a_device_that_does_not_make_sure_of_its_person_enrols_nobody(page: Page, place: Place) -> None:
    page.authenticator(verifies=False)
    page.open(f"{place.url}/enrol")
    page.arrive("/enrol")
    page.fill("#invitation", place.invite("carol", "caller"))
    page.click("button[value=passkey]")
    page.until("document.querySelector('#status').innerText.includes('No passkey was given')")
    assert place.run("user", "show", "carol")["state"] == "invited"


def test_one_browser_ends_the_session_of_another(browser: Chromium, page: Page, place: Place) -> None:
    page.authenticator()
    enrol_with_passkey(page, place, "dora")
    held = page.send("WebAuthn.getCredentials", authenticatorId=page.device)["credentials"]
    with browser.page() as other:
        device = other.authenticator()
        other.send("WebAuthn.addCredential", authenticatorId=device, credential=_copied(held[0]))
        other.open(f"{place.url}/")
        other.arrive("/")
        other.click("#passkey")
        other.arrive("/account")
        page.open(f"{place.url}/account")
        page.arrive("/account")
        page.click("[data-revoke]")
        page.until("document.readyState === 'complete' && !document.querySelector('[data-revoke]')")
        other.open(f"{place.url}/account")
        other.arrive("/")
        # A copy of the authenticator that is behind: refused, and on record.
        held[0]["signCount"] = 0
        other.send("WebAuthn.removeCredential", authenticatorId=device, credentialId=held[0]["credentialId"])
        other.send("WebAuthn.addCredential", authenticatorId=device, credential=held[0])
        other.click("#passkey")
        other.until("document.querySelector('#status').innerText.includes('No sign-in with this passkey')")
        assert place.events()[0]["reason"] == "passkey-counter"


def test_at_an_address_without_a_name_nothing_offers_passkeys(page: Page, place: Place) -> None:
    page.open(place.url.replace("localhost", "127.0.0.1") + "/")
    page.arrive("/")
    assert not page.run("document.querySelector('#passkey').checkVisibility()")
    assert place.url in page.text("#elsewhere")
    assert page.run("document.querySelector('#password').checkVisibility()")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_fit_a_small_screen_and_can_be_read(page: Page, place: Place, theme: str) -> None:
    page.theme(theme)
    page.size(360, 740)
    for path in ("/", "/enrol"):
        page.open(f"{place.url}{path}")
        page.arrive(path)
        assert page.run("document.documentElement.scrollWidth") <= 360
        assert page.run(_UNREADABLE) == [], "WCAG 2.2, 1.4.3: 4.5 to 1"


def _copied(credential: dict[str, Any]) -> dict[str, Any]:
    return {**credential, "signCount": credential["signCount"] + 10}


# Every text whose contrast with what lies behind it is too low, for controls that can be used.
_UNREADABLE = """(() => {
  const numbers = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const element of document.querySelectorAll("h1, h2, p, a, label, button, input, code, dt, dd, span")) {
    if (!element.checkVisibility() || element.matches(":disabled, .skip")) continue;
    const [one, other] = [light(getComputedStyle(element).color), light(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) found.push(`${element.tagName} ${element.innerText} ${ratio}`);
  }
  return found;
})()"""


def test_a_command_line_signs_in_from_the_browser(page: Page, place: Place) -> None:
    """Also of somebody who has passkeys alone, and so no code that a command line could ask for."""
    page.authenticator()
    enrol_with_passkey(page, place, "cora")
    sign_out(page)
    words = [
        sys.executable,
        "-m",
        "casemate",
        "--server",
        place.url,
        "--ca",
        str(place.folder / "home" / "tls" / "ca.pem"),
    ]
    login = subprocess.Popen(
        [*words, "login", "--browser"],
        env={**place.environment, "BROWSER": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert login.stdout is not None
    told, url = login.stdout.readline(), login.stdout.readline().strip()
    page.open(url)
    page.arrive("/")  # nobody is signed in
    page.click("#passkey")
    page.arrive("/command")
    assert page.text("#compare") in told
    place.make_stale("cora")
    page.click("#command button")
    page.until("document.querySelector('#step-up').open")
    page.click("#step-up-passkey")
    page.until("document.body.innerText.includes('close this page')")
    rest = login.communicate(timeout=300)[0]
    assert (login.returncode, "Signed in as cora" in rest) == (0, True)
    who = subprocess.run(
        [*words, "whoami"], env=place.environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert "cora" in who.stdout
