"""Transit in a real OpenBao: signing in, renewal, what is refused, and a server that goes away in the middle."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hvac
import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from https_server import Answer, https_server
from real_bao import Bao, secret_file

from casemate.core import CasemateError, ConflictError, InputError, StorageError, VerificationError, new_id
from casemate.keys import Keeper, Keyring, init_keys
from casemate.keys.vault import VaultProvider, VaultSettings


@pytest.fixture
def name() -> str:
    return new_id("home")


@pytest.fixture
def settings(bao: Bao, name: str, tmp_path: Path) -> dict[str, str]:
    return bao.admit(name, tmp_path)


@pytest.fixture
def keyring(settings: dict[str, str], name: str, tmp_path: Path) -> Keyring:
    init_keys(tmp_path / name, "vault", settings)
    return Keyring(tmp_path / name / "kek.json")


@pytest.fixture
def sealable(bao: Bao) -> Iterator[Bao]:
    """The server, which serves again afterwards whatever a test did."""
    yield bao
    bao.resume()
    bao.unseal()


def refusal(act: Callable[[], object]) -> CasemateError:
    with pytest.raises(CasemateError) as refused:
        act()
    return refused.value


def test_the_context_is_bound_by_vault_itself(bao: Bao, keyring: Keyring, name: str) -> None:
    """Whoever may use the transit key and has the database still needs to know what a key is for."""
    wrapped = keyring.wrap(b"k" * 32, b"context")
    text = "vault:v1:" + msgspec.json.encode(wrapped[37:]).decode().strip('"')
    with pytest.raises(hvac.exceptions.InvalidRequest, match="authentication failed"):
        bao.root.secrets.transit.decrypt_data(name, text)


def test_the_transit_key_cannot_be_read_out(bao: Bao, keyring: Keyring, name: str) -> None:
    keyring.wrap(b"k", b"c")
    about = bao.root.secrets.transit.read_key(name)["data"]
    assert (about["exportable"], about["allow_plaintext_backup"], about["deletion_allowed"]) == (False, False, False)
    with pytest.raises(hvac.exceptions.VaultError):
        bao.root.secrets.transit.export_key(name, "encryption-key")


def test_a_key_that_can_be_read_out_is_refused(bao: Bao, settings: dict[str, str], name: str, tmp_path: Path) -> None:
    bao.root.secrets.transit.create_key(name, exportable=True)
    error = refusal(lambda: init_keys(tmp_path / name, "vault", settings))
    assert (type(error), error.code) == (StorageError, "keys-refused")
    assert not (tmp_path / name / "kek.json").exists()


def test_retirement_sets_the_minimum_version_in_vault(bao: Bao, keyring: Keyring, name: str) -> None:
    keyring.rotate()
    keyring.rotate()
    keyring.retire()
    assert bao.root.secrets.transit.read_key(name)["data"]["min_decryption_version"] == 1
    keyring.enforce()
    assert bao.root.secrets.transit.read_key(name)["data"]["min_decryption_version"] == 3


def test_a_minimum_version_set_by_the_operator_is_honoured(bao: Bao, keyring: Keyring, name: str) -> None:
    wrapped = keyring.wrap(b"k", b"c")
    bao.root.secrets.transit.rotate_key(name)
    assert keyring.unwrap(wrapped, b"c") == b"k"
    bao.root.secrets.transit.update_key_configuration(name, min_decryption_version=2)
    error = refusal(lambda: keyring.unwrap(wrapped, b"c"))
    assert (type(error), error.code) == (VerificationError, "kek-retired")


def test_one_home_cannot_use_the_key_of_another(bao: Bao, keyring: Keyring, name: str, tmp_path: Path) -> None:
    wrapped = keyring.wrap(b"k", b"c")
    other = bao.admit("other-home", tmp_path) | {"key": name}
    thief = VaultProvider(msgspec.convert(other, VaultSettings), name)
    assert refusal(lambda: thief.open("1", wrapped[37:], keyring.keks[0].header + b"c")).code == "keys-refused"


def test_a_sealed_server_refuses_and_goes_on_when_it_is_unsealed(
    sealable: Bao, keyring: Keyring, tmp_path: Path
) -> None:
    wrapped, before = keyring.wrap(b"k", b"c"), (tmp_path / keyring.settings["key"] / "kek.json").read_bytes()
    sealable.seal()
    for act in (lambda: keyring.wrap(b"k", b"c"), lambda: keyring.unwrap(wrapped, b"c"), keyring.rotate):
        error = refusal(act)
        assert (type(error), error.code) == (StorageError, "keys-out-of-reach")
        assert "sealed" in error.message
        assert sealable.address in error.message
    assert (tmp_path / keyring.settings["key"] / "kek.json").read_bytes() == before
    sealable.unseal()
    assert keyring.unwrap(wrapped, b"c") == b"k"
    assert keyring.rotate().number == 2


def test_a_server_that_stops_answering_refuses_and_goes_on(sealable: Bao, keyring: Keyring) -> None:
    wrapped = keyring.wrap(b"k", b"c")
    sealable.pause()
    error = refusal(lambda: keyring.unwrap(wrapped, b"c"))
    assert (type(error), error.code) == (StorageError, "keys-out-of-reach")
    sealable.resume()
    assert keyring.unwrap(wrapped, b"c") == b"k"


def test_a_home_is_not_made_where_nobody_answers(settings: dict[str, str], name: str, tmp_path: Path) -> None:
    nowhere = settings | {"address": "http://127.0.0.1:1"}
    error = refusal(lambda: init_keys(tmp_path / name, "vault", nowhere))
    assert error.code == "keys-out-of-reach"
    init_keys(tmp_path / name, "vault", settings)  # and goes on from there


def test_init_does_not_move_keys(keyring: Keyring, settings: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / settings["key"]
    init_keys(folder)
    init_keys(folder, "vault", settings)
    for provider, other in (("file", {}), ("vault", settings | {"mount": "elsewhere"})):
        with pytest.raises(ConflictError) as refused:
            init_keys(folder, provider, other)
        assert refused.value.code == "keys-elsewhere"
    assert Keyring(folder / "kek.json").unwrap(keyring.wrap(b"k", b"c"), b"c") == b"k"


# Signing in ---------------------------------------------------------------------------------------------------------


def with_token(bao: Bao, name: str, folder: Path, **more: Any) -> tuple[dict[str, str], str]:
    token = bao.token(name, **more)
    path = secret_file(folder / "token", token)
    return {"address": bao.address, "key": name, "token_file": str(path)}, token


def test_a_token_file_is_read_again_when_its_token_has_ended(bao: Bao, name: str, tmp_path: Path) -> None:
    settings, token = with_token(bao, name, tmp_path)
    provider = VaultProvider(msgspec.convert(settings, VaultSettings), name)
    sealed = provider.seal(provider.make(), b"k", b"c")
    bao.root.auth.token.revoke(token)
    error = refusal(lambda: provider.open("1", sealed, b"c"))
    assert (type(error), error.code) == (StorageError, "keys-refused")
    assert token not in str(error)
    secret_file(tmp_path / "token", bao.token(name))
    assert provider.open("1", sealed, b"c") == b"k"


def test_a_token_is_renewed_after_half_of_its_life(bao: Bao, name: str, tmp_path: Path) -> None:
    now = [0.0]
    settings, token = with_token(bao, name, tmp_path, ttl="1h", renewable=True)
    provider = VaultProvider(msgspec.convert(settings, VaultSettings), name, monotonic=lambda: now[0])

    def renewed() -> bool:
        return "last_renewal_time" in bao.root.auth.token.lookup(token)["data"]

    provider.make()
    now[0] = 1700.0
    provider.make()
    assert not renewed()
    now[0] = 1801.0
    provider.make()
    assert renewed()


def test_an_approle_signs_in_again_when_its_token_has_ended(bao: Bao, settings: dict[str, str], name: str) -> None:
    now = [0.0]
    provider = VaultProvider(msgspec.convert(settings, VaultSettings), name, monotonic=lambda: now[0])
    sealed = provider.seal(provider.make(), b"k", b"c")
    for moment in (0.0, 1801.0):  # while the token seems fresh, and when it is due to be renewed
        now[0] = moment
        bao.root.auth.token.revoke(provider._session._client.token)
        assert provider.open("1", sealed, b"c") == b"k"


def test_a_wrong_secret_id_is_refused_and_not_repeated(settings: dict[str, str], name: str, tmp_path: Path) -> None:
    secret = "c0ffee00-planted-secret"
    path = secret_file(tmp_path / "wrong", secret)
    error = refusal(lambda: init_keys(tmp_path / name, "vault", settings | {"secret_id_file": str(path)}))
    assert error.code == "keys-refused"
    assert secret not in repr(error) + repr(error.__cause__) + repr(error.details)


def test_a_secret_that_others_may_read_is_refused(settings: dict[str, str], name: str, tmp_path: Path) -> None:
    Path(settings["secret_id_file"]).chmod(0o644)
    assert refusal(lambda: init_keys(tmp_path / name, "vault", settings)).code == "open-to-others"


def test_no_token_of_the_environment_is_used(
    bao: Bao, keyring: Keyring, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", bao.root.token)
    settings, token = with_token(bao, name, tmp_path)
    bao.root.auth.token.revoke(token)
    provider = VaultProvider(msgspec.convert(settings, VaultSettings), name)
    assert refusal(lambda: provider.seal("1", b"k", b"c")).code == "keys-refused"


@pytest.fixture
def pod(bao: Bao, name: str, tmp_path: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
    """A pod's token, and the cluster whose answer Vault asks for: a review of that token, in its documented shape."""
    key, now = ec.generate_private_key(ec.SECP256R1()), int(time.time())
    account = {"namespace": "models", "serviceaccount": {"name": "casemate", "uid": "f1a4"}}
    claims = {"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:models:casemate", "exp": now + 3600,
              "iat": now, "nbf": now, "aud": ["vault"], "kubernetes.io": account}  # fmt: skip
    signed = ".".join(url_text(json.dumps(part).encode()) for part in ({"alg": "ES256", "typ": "JWT"}, claims))
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    jwt = f"{signed}.{url_text(r.to_bytes(32) + s.to_bytes(32))}"
    reviewed: list[str] = []

    def review(method: str, path: str, headers: dict[str, str], body: Any) -> Answer:
        assert (method, path) == ("POST", "/apis/authentication.k8s.io/v1/tokenreviews")
        reviewed.append(body["spec"]["token"])
        user = {"username": claims["sub"], "uid": "f1a4", "groups": ["system:serviceaccounts"]}
        status = {"authenticated": body["spec"]["token"] == jwt, "user": user, "audiences": ["vault"]}
        return 201, {}, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}

    with https_server(tmp_path, ["localhost"], review) as cluster:
        bao.root.sys.enable_auth_method("kubernetes", path=name)
        bao.root.auth.kubernetes.configure(
            f"https://localhost:{cluster.port}", token_reviewer_jwt="reviewer", mount_point=name,
            kubernetes_ca_cert=cluster.ca.read_text(), disable_local_ca_jwt=True,
        )  # fmt: skip
        bao.token(name)  # makes the policy
        bao.root.auth.kubernetes.create_role(
            "casemate", bound_service_account_names=["casemate"], bound_service_account_namespaces=["models"],
            policies=[name], ttl="1h", mount_point=name,
        )  # fmt: skip
        (tmp_path / "pod-token").write_text(jwt)  # readable by all, as the kubelet leaves it
        yield (
            {
                "address": bao.address,
                "key": name,
                "kubernetes_role": "casemate",
                "kubernetes_mount": name,
                "kubernetes_token_file": str(tmp_path / "pod-token"),
            },
            reviewed,
        )


def url_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_a_pod_signs_in_with_its_service_account_and_again_when_its_token_has_ended(
    bao: Bao, pod: tuple[dict[str, str], list[str]], name: str, tmp_path: Path
) -> None:
    settings, reviewed = pod
    provider = VaultProvider(msgspec.convert(settings, VaultSettings), name)
    sealed = provider.seal(provider.make(), b"k", b"c")
    assert len(reviewed) == 1
    bao.root.auth.token.revoke(provider._session._client.token)
    assert provider.open("1", sealed, b"c") == b"k"
    assert len(reviewed) == 2
    for content in (reviewed[0][:-4] + "AAAA", "planted-not-a-token", "ü"):
        (tmp_path / "pod-token").write_text(content)
        bao.root.auth.token.revoke(provider._session._client.token) if content == reviewed[0][:-4] + "AAAA" else None
        error = refusal(lambda: provider.open("1", sealed, b"c"))
        assert error.code in ("keys-refused", "secret-missing", "keys-out-of-reach")
        assert content not in str(error)
    (tmp_path / "pod-token").unlink()
    assert refusal(lambda: provider.open("1", sealed, b"c")).code == "secret-missing"


@pytest.mark.parametrize(
    "change",
    [
        {"kubernetes_role": "casemate"},
        {"secret_id_file": "vault://kv/circle#id"},
        {"address": "http://vault.example:8200"},
        {"address": "vault.example"},
        {"address": "https://user:word@vault.example"},
        {"secret_id": "c0ffee"},
        {"token_file": "/somewhere/token"},
        {"secret_id_file": "relative"},
        {"role_id": ""},
        {"key": "../other"},
    ],
)
def test_settings_that_make_no_sense_are_refused(
    settings: dict[str, str], change: dict[str, str], name: str, tmp_path: Path
) -> None:
    error = refusal(lambda: init_keys(tmp_path / name, "vault", settings | change))
    assert (type(error), error.code) == (InputError, "bad-key-settings")
    assert not (tmp_path / name / "kek.json").exists()


def test_a_keyring_whose_settings_were_spoilt_is_broken(
    keyring: Keyring, settings: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / settings["key"] / "kek.json"
    path.write_bytes(path.read_bytes().replace(b"role_id", b"role-id"))
    assert refusal(lambda: Keeper(path.parent)).code == "key-file-broken"


def test_a_missing_package_is_one_sentence(
    settings: dict[str, str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "hvac", None)
    error = refusal(lambda: init_keys(tmp_path / name, "vault", settings))
    assert (error.code, "casemate[vault]" in error.message) == ("missing-extra", True)
