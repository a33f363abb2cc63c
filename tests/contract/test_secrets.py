"""Secrets from a real KV engine and from an emulated Secrets Manager."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from real_bao import Bao, secret_file
from real_kms import Kms

from casemate.core import CasemateError, StorageError
from casemate.keys import Strength, resolve_secret

PLANTED = "planted-Kq7-xUe2-mV9z"
_POLICY = 'path "kv/data/casemate/*" { capabilities = ["read"] }'


@pytest.fixture(scope="module")
def kv(bao: Bao) -> Bao:
    bao.root.sys.enable_secrets_engine("kv", path="kv", options={"version": "2"})
    bao.root.sys.create_or_update_policy("reads-secrets", _POLICY)
    bao.root.secrets.kv.v2.create_or_update_secret(
        "casemate/mail", mount_point="kv", secret={"password": PLANTED, "port": 25, "weak": "changeme"}
    )
    bao.root.secrets.kv.v2.create_or_update_secret("other/mail", mount_point="kv", secret={"password": PLANTED})
    return bao


@pytest.fixture
def access(kv: Bao, tmp_path: Path) -> Path:
    token = kv.root.auth.token.create(policies=["reads-secrets"], no_parent=True)["auth"]["client_token"]
    place = secret_file(tmp_path / "token", token)
    return secret_file(tmp_path / "vault.toml", f"address = '{kv.address}'\ntoken_file = '{place}'")


@pytest.fixture
def manager(kms: Kms, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", kms.endpoint)
    yield boto3.client("secretsmanager")
    kms.resume()


def resolved(text: str, access: Path | None = None) -> str:
    return resolve_secret(text, setting="mail", strength=Strength.PASSWORD, vault=access).reveal()


def refusal(text: str, access: Path | None = None) -> CasemateError:
    with pytest.raises(CasemateError) as refused:
        resolved(text, access)
    assert "planted" not in str(refused.value)
    return refused.value


def test_vault_gives_a_field_of_a_secret(access: Path) -> None:
    assert resolved("vault://kv/casemate/mail#password", access) == PLANTED


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("vault://kv/casemate/mail#user", "secret-missing"),
        ("vault://kv/casemate/mail#port", "secret-missing"),
        ("vault://kv/casemate/mail#weak", "weak-secret"),
        ("vault://kv/casemate/nothing#password", "secret-missing"),
        ("vault://kv/other/mail#password", "keys-refused"),
    ],
)
def test_vault_refuses_in_one_sentence(access: Path, text: str, code: str) -> None:
    assert refusal(text, access).code == code


def test_a_sealed_vault_refuses_and_gives_it_when_it_is_back(kv: Bao, access: Path) -> None:
    kv.seal()
    try:
        error = refusal("vault://kv/casemate/mail#password", access)
    finally:
        kv.unseal()
    assert (type(error), error.code) == (StorageError, "keys-out-of-reach")
    assert resolved("vault://kv/casemate/mail#password", access) == PLANTED


def test_the_way_to_vault_is_private_too(access: Path) -> None:
    access.write_text("address = 'http://vault.example'")
    assert refusal("vault://kv/casemate/mail#password", access).code == "bad-secret-reference"
    access.chmod(0o644)
    assert refusal("vault://kv/casemate/mail#password", access).code == "open-to-others"


def test_secrets_manager_gives_a_text_or_a_field(manager: Any) -> None:
    manager.create_secret(Name="prod/mail", SecretString=PLANTED)
    manager.create_secret(Name="prod/database", SecretString=json.dumps({"password": PLANTED, "user": "u"}))
    assert resolved("aws-sm://prod/mail") == resolved("aws-sm://prod/database#password") == PLANTED
    assert refusal("aws-sm://prod/mail#password").code == "secret-missing"
    assert refusal("aws-sm://prod/database#nothing").code == "secret-missing"
    assert refusal("aws-sm://prod/nothing").code == "secret-missing"


def test_secrets_manager_that_does_not_answer_is_out_of_reach(
    manager: Any, kms: Kms, monkeypatch: pytest.MonkeyPatch
) -> None:
    del manager
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
    assert refusal("aws-sm://prod/mail").code == "keys-out-of-reach"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", kms.endpoint)
    assert refusal("aws-sm://prod/mail").code == "keys-refused"
