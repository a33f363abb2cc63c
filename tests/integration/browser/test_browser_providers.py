"""Sign-in through a real provider, the certified npm `oidc-provider`, in a real browser and from the command line."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from real_chromium import Chromium, Page
from test_browser_passkeys import Place

NODE = Path(__file__).parents[2] / "assets" / "node"
pytestmark = [pytest.mark.program("chromium"), pytest.mark.program("node")]


@dataclass
class Site:
    place: Place
    environment: dict[str, str]
    url: str

    def run(self, *words: str) -> Any:
        done = subprocess.run(
            self.place.command(*words), capture_output=True, text=True, env=self.environment, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def started(command: list[str], environment: dict[str, str], log: Path) -> Iterator[str]:
    """A process, and the first line that it says."""
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, log.read_text()
            yield line.strip()
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if not (NODE / "node_modules" / "oidc-provider").is_dir():
        why = f"needs npm ci in {NODE}"
        pytest.fail(why) if os.environ.get("CASEMATE_REQUIRE_PROGRAMS") else pytest.skip(why)
    folder = tmp_path_factory.mktemp("provider")
    place = Place(folder)
    secret = folder / "secrets" / "corp"
    secret.parent.mkdir(mode=0o700)
    secret.write_text(secrets.token_urlsafe(32))
    secret.chmod(0o600)
    own = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"})
    signing = folder / "secrets" / "corp-key"
    signing.write_bytes(own.as_pem(private=True))
    signing.chmod(0o600)
    more = {"CASEMATE_PROVIDERS_HERE": "true", "CASEMATE_PROVIDER_SECRETS": str(secret.parent)}
    environment = {**place.environment, **more}
    subprocess.run(place.command("init"), env=environment, capture_output=True, check=True, timeout=300)
    key = next((folder / "keys").glob("*/tls/server.key"))
    pem = folder / "home" / "tls" / "server.pem"
    with started(place.command("up"), environment, folder / "up.log") as line:
        url = "https://localhost:" + line.rpartition(":")[2]
        clients = {
            "corp": ({"CLIENT_SECRET": secret.read_text()}, secret, "client_secret_basic"),
            "corp-key": ({"CLIENT_KEY": json.dumps(own.as_dict(private=False))}, signing, "private_key_jwt"),
        }
        made = Site(place, environment, url)
        with ExitStack() as running:
            for name, (told, file, how) in clients.items():
                redirect = f"{url}/api/v1/session/provider/{name}/callback"
                node = ["node", str(NODE / "provider.mjs"), str(pem), str(key), redirect]
                issuer = running.enter_context(started(node, {**environment, **told}, folder / f"{name}.log"))
                words = ["--issuer", issuer, "--client-id", "casemate", "--client-secret-from", f"file://{file}"]
                words += ["--client-auth", how, "--provider-ca", str(folder / "home" / "tls" / "ca.pem")]
                added = made.run(
                    "provider",
                    "add",
                    name,
                    *words,
                    "--scope",
                    "groups",
                    "--scope",
                    "profile",
                    "--display",
                    f"{name.title()} login",
                )
                assert redirect in added.replace("\n", "")
                assert secret.read_text() not in added
                made.run("provider", "map", name, "ml-team", "--role", "operator", "--on", "*")
            yield made


@pytest.fixture
def page(site: Site) -> Iterator[Page]:
    with Chromium(trust=site.place.folder / "home" / "tls" / "server.pem") as browser, browser.page() as page:
        yield page


def log_in(page: Page, name: str) -> None:
    """At the provider: its login page, then its consent page."""
    page.until("document.querySelector('input[name=login]') !== null")
    page.fill("input[name=login]", name)
    page.fill("input[name=password]", "anything")
    page.click("button[type=submit]")
    page.until("document.querySelector('input[name=prompt][value=consent]') !== null")
    page.click("button[type=submit]")


def test_a_person_signs_in_and_has_the_role_of_their_group(site: Site, page: Page) -> None:
    page.open(site.url)
    page.until("document.querySelector('#providers a') !== null")
    assert "Sign in with Corp login" in page.text("#providers")
    page.run("document.querySelector('#providers a').click()")
    log_in(page, "ml-ada")
    page.arrive("/account")
    assert "ml-ada" in page.text()
    said = site.run("access", "explain", "ml-ada", "deployment:pause", "deployment:risk")
    assert "operator" in said
    assert "group ml-team at corp" in site.run("access", "report", "--format", "csv")


def test_a_client_proves_itself_with_a_key_of_its_own(site: Site, page: Page) -> None:
    page.open(f"{site.url}/api/v1/session/provider/corp-key")
    log_in(page, "ml-cyd")
    page.arrive("/account")
    assert "group ml-team at corp-key" in site.run("access", "report", "--format", "csv")


@pytest.mark.parametrize(("name", "code"), [("guest", "no-role"), ("ml-bob-weak", "no-second-factor")])
def test_who_lacks_a_group_or_a_second_factor_is_told(site: Site, page: Page, name: str, code: str) -> None:
    page.open(f"{site.url}/api/v1/session/provider/corp")
    log_in(page, name)
    page.until(f"document.body.innerText.includes('{code}')")


def test_a_command_line_signs_in_through_the_browser(site: Site, page: Page) -> None:
    ca = site.place.folder / "home" / "tls" / "ca.pem"
    words = ["--server", site.url, "--ca", str(ca)]
    command = [sys.executable, "-m", "casemate", *words]
    environment = {**site.environment, "BROWSER": "true"}
    unknown = [*command, "login", "--provider", "cropped"]
    told = subprocess.run(unknown, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 2
    assert "it knows corp, corp-key" in told.stderr, "at once, not after minutes in which nobody can sign in"
    login = subprocess.Popen(
        [*command, "login", "--provider", "corp"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert login.stdout is not None
    said = [login.stdout.readline(), login.stdout.readline()]
    page.open(next(line.strip() for line in said if "challenge=" in line))
    log_in(page, "ml-cleo")
    page.until("document.querySelector('#hand-on') !== null")  # nobody is let in by a link alone
    assert page.text("#compare") in said[0]
    page.run("document.querySelector('#hand-on').click()")
    page.until("document.body.innerText.includes('close this page')")
    rest = login.communicate(timeout=300)[0]
    assert login.returncode == 0
    assert "Signed in as ml-cleo" in rest
    who = subprocess.run([*command, "whoami"], env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert "ml-cleo" in who.stdout
    site.run("provider", "revoke", "corp")
    gone = subprocess.run(
        [*command, "whoami"], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert gone.returncode == 1
    assert "ended" in gone.stderr
