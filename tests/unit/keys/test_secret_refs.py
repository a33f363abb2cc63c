"""Secrets by reference: where they may stand, what is refused, and that nothing prints them."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.app.up import _own_database
from casemate.core import CasemateError, InputError, Secret, StorageError
from casemate.keys import Strength, resolve_secret
from casemate.keys.secret_strength import check_strength, spread_bits
from casemate.settings import Settings, _built, decode_value, encode_value, load_settings

PLANTED = "planted-Kq7-xUe2-mV9z"


class WithSecrets(Settings, frozen=True, kw_only=True):
    """As a part that comes later would have it."""

    mail_password: Secret = Secret()


def secret_file(path: Path, text: str = PLANTED, mode: int = 0o600) -> Path:
    path.touch(mode)
    path.chmod(mode)
    path.write_text(text + "\n")
    return path


def resolved(text: str, **more) -> str:
    return resolve_secret(text, setting="mail_password", strength=Strength.PASSWORD, **more).reveal()


def refusal(text: str, **more) -> CasemateError:
    with pytest.raises(CasemateError) as refused:
        resolved(text, **more)
    assert "planted" not in str(refused.value)
    return refused.value


def test_a_file_and_a_variable_give_the_secret(tmp_path: Path) -> None:
    file = secret_file(tmp_path / "with space")
    assert resolved(f"file://{file}".replace(" ", "%20")) == PLANTED
    assert resolved("env://MAIL", environ={"MAIL": PLANTED}) == PLANTED


def test_a_mounted_secret_is_a_link_to_its_newest_version(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir(0o700)
    secret_file(tmp_path / "v1" / "mail")
    (tmp_path / "mail").symlink_to(tmp_path / "v1" / "mail")
    assert resolved(f"file://{tmp_path}/mail") == PLANTED


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620])
def test_a_file_that_others_may_read_or_write_says_how_to_mend_it(tmp_path: Path, mode: int) -> None:
    file = secret_file(tmp_path / "mail", mode=mode)
    error = refusal(f"file://{file}")
    assert (type(error), error.code) == (StorageError, "open-to-others")
    assert f"chmod 600 {file}" in error.message


def test_a_folder_in_which_others_may_put_another_file_says_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "open" / "below").mkdir(parents=True)
    file = secret_file(tmp_path / "open" / "below" / "mail")
    (tmp_path / "open").chmod(0o777)
    error = refusal(f"file://{file}")
    assert (error.code, f"chmod go-w {tmp_path}/open" in error.message) == ("open-to-others", True)
    (tmp_path / "open").chmod(0o1777)  # as /tmp: nobody may replace another's file
    assert resolved(f"file://{file}") == PLANTED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    file = secret_file(tmp_path / "mail")
    os.chown(file, 12345, 12345)
    assert refusal(f"file://{file}").code == "open-to-others"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("file:///nowhere/mail", "secret-missing"),
        ("file://host/mail", "bad-secret-reference"),
        ("file://relative", "bad-secret-reference"),
        ("env://NOT_THERE", "secret-missing"),
        ("env://EMPTY", "secret-missing"),
        ("env://not a name", "bad-secret-reference"),
        ("vault://kv", "bad-secret-reference"),
        ("vault://kv/../sys#x", "bad-secret-reference"),
        ("vault://kv/mail#password", "bad-secret-reference"),  # nothing says how to reach Vault
        ("aws-sm://", "bad-secret-reference"),
        ("http://secrets.example/mail", "bad-secret-reference"),
        (PLANTED, "bad-secret-reference"),
    ],
)
def test_a_reference_that_leads_nowhere_is_one_sentence(text: str, code: str) -> None:
    error = refusal(text, environ={"EMPTY": ""})
    assert error.code == code
    assert error.message.count(". ") == 0


def test_a_secret_of_several_lines_or_of_no_text_is_refused(tmp_path: Path) -> None:
    file = secret_file(tmp_path / "mail", "planted\nlines-of-text")
    assert refusal(f"file://{file}").code == "secret-missing"
    file.write_bytes(b"\xff\xfeplanted")
    assert refusal(f"file://{file}").code == "secret-missing"


def test_a_private_key_is_a_secret_of_many_lines(tmp_path: Path) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0\n-----END PRIVATE KEY-----"
    file = secret_file(tmp_path / "client", pem + "\n")
    assert resolve_secret(f"file://{file}", setting="the client's", strength=Strength.TOKEN).reveal() == pem
    file.write_text(pem.replace("MIGH", "MI\x1bGH"))
    assert refusal(f"file://{file}").code == "secret-missing"


@pytest.mark.parametrize(
    "value",
    ["", "password", "Password123!", "changeme", "postgres", "short1", "aaaaaaaaaaaaaaaa", "abababababab",
     "123456789012", "abcdefghijklmnop", "zyxwvutsrqponmlk", "111111111112"],
)  # fmt: skip
def test_a_default_or_weak_secret_is_refused_and_told_how_to_mend(value: str) -> None:
    with pytest.raises(InputError) as refused:
        check_strength(value, setting="mail_password", strength=Strength.PASSWORD)
    assert refused.value.code == "weak-secret"
    assert "mail_password" in refused.value.message
    assert "openssl rand" in refused.value.message
    assert not value or value not in refused.value.message.replace("mail_password", "")


@pytest.mark.parametrize("pin", ["1234", "123456", "654321", "000000", "aaaaaa", "12ab1"])
def test_a_pin_that_everybody_tries_first_is_refused(pin: str) -> None:
    with pytest.raises(InputError):
        check_strength(pin, setting="pin", strength=Strength.PIN)


@given(st.integers(12, 64))
def test_what_a_machine_makes_is_strong_enough(size: int) -> None:
    check_strength(secrets.token_urlsafe(size), setting="x", strength=Strength.TOKEN)
    check_strength(secrets.token_hex(max(size, 24)), setting="x", strength=Strength.KEY)
    check_strength(f"{secrets.randbelow(800000) + 100000}x", setting="x", strength=Strength.PIN)


@given(st.text(min_size=1, max_size=50))
def test_repeating_a_text_adds_no_more_than_its_length(text: str) -> None:
    assert spread_bits(text + text) == pytest.approx(2 * spread_bits(text))
    assert spread_bits(text[0] * 50) == 0


def test_settings_ask_once_and_never_print(tmp_path: Path) -> None:
    values = {"database_password": "env://DB", "mail_password": f"file://{secret_file(tmp_path / 'mail')}"}
    settings = _built(values, WithSecrets, {"DB": PLANTED + "-db"})
    assert (settings.database_password.reveal(), settings.mail_password.reveal()) == (PLANTED + "-db", PLANTED)
    for shown in (repr(settings), str(settings), f"{settings.mail_password}", f"{settings.database_password!r}"):
        assert "planted" not in shown
    sent = msgspec.json.encode(settings, enc_hook=encode_value)
    assert msgspec.json.decode(sent, type=WithSecrets, dec_hook=decode_value) == settings
    with pytest.raises(TypeError):
        msgspec.json.encode(settings.mail_password)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"mail_password": PLANTED}, "secret-written-out"),
        ({"database_password": PLANTED}, "secret-written-out"),
        ({"database_password": "env://WEAK"}, "weak-secret"),
        ({"database_password": "env://NOT_THERE"}, "secret-missing"),
        ({"mail_password": 4711}, "bad-setting"),
        ({"mail_password": "env://NOT_THERE", "data_port": "many"}, "bad-setting"),
    ],
)
def test_settings_refuse_what_is_written_out_or_weak(values: dict, code: str) -> None:
    with pytest.raises(CasemateError) as refused:
        _built(values, WithSecrets, {"WEAK": "postgres"})
    assert refused.value.code == code
    assert "planted" not in str(refused.value)


SERVER = "postgresql://casemate@db.example/casemate"


def test_the_servers_own_settings_take_a_reference(tmp_path: Path) -> None:
    environ = {"CASEMATE_DATABASE": SERVER, "CASEMATE_DATABASE_PASSWORD": "env://DB", "DB": PLANTED}
    settings = load_settings(environ, home=tmp_path)
    assert settings.database_password.reveal() == PLANTED
    for process, told in (("keeper", "own-" + PLANTED), ("control", PLANTED)):  # what each process gets, and no more
        more = {"CASEMATE_DATABASE_KEEPER": SERVER, "CASEMATE_DATABASE_KEEPER_PASSWORD": "env://KEEPER"}
        own = _own_database(process, load_settings({**environ, **more, "KEEPER": "own-" + PLANTED}, home=tmp_path))
        assert own.database_password.reveal() == told
        assert not own.database_keeper_password


@pytest.mark.parametrize("name", ["database", "database_keeper", "database_control", "database_gateway"])
def test_a_home_does_not_choose_who_is_told_the_password(name: str, tmp_path: Path) -> None:
    """Else whoever writes the home names a server of their own, and is told."""
    (tmp_path / "casemate.toml").write_text(f"{name} = '{SERVER}'\n")
    with pytest.raises(CasemateError, match="set beside it") as refused:
        load_settings({f"CASEMATE_{name.upper()}_PASSWORD": "env://DB", "DB": PLANTED}, home=tmp_path)
    assert refused.value.code == "bad-setting"
    (tmp_path / "casemate.toml").write_text(f"{name}_password = 'env://DB'\n")
    with pytest.raises(CasemateError) as refused:
        load_settings({f"CASEMATE_{name.upper()}": SERVER, "DB": PLANTED}, home=tmp_path)
    assert refused.value.code == "not-in-file"
