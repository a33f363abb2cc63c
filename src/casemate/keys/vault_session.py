"""A signed-in client of OpenBao or HashiCorp Vault: AppRole, Kubernetes or a token; renewed, and signed in again when it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from casemate.core import Secret, StorageError
from casemate.keys.interface import keys_refused, missing_extra, out_of_reach
from casemate.keys.secret_places import checked_place, read_secret
from casemate.keys.secret_strength import Strength

_TIMEOUT = 5.0  # seconds for one answer
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_POD_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 a path
_LONGEST_TOKEN = 16 << 10  # bytes of a service account's token

_Answer = TypeVar("_Answer")


class VaultAccess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None is a secret. One of: `role_id` with `secret_id_file` (AppRole), `kubernetes_role`, `token_file`.

    Secrets stand in files of mode 0600, or where `read_secret` finds them.
    """

    address: str
    role_id: str = ""
    secret_id_file: str = ""
    token_file: str = ""
    kubernetes_role: str = ""
    kubernetes_token_file: str = _POD_TOKEN
    ca: str = ""  # PEM file of the authority that signed the server's certificate; empty: what the system trusts
    approle_mount: str = "approle"
    kubernetes_mount: str = "kubernetes"
    namespace: str = ""

    def __post_init__(self) -> None:
        address = urlsplit(self.address)
        if address.scheme != "https" and not (address.scheme == "http" and address.hostname in _LOOPBACK):
            raise ValueError("address must begin with https:// (http:// on this machine only)")
        if address.username is not None or address.password is not None:
            raise ValueError("address must hold no password")
        ways = (bool(self.token_file), bool(self.role_id and self.secret_id_file), bool(self.kubernetes_role))
        if sum(ways) != 1 or bool(self.role_id) != bool(self.secret_id_file):
            raise ValueError("give one of token_file, role_id with secret_id_file, or kubernetes_role")
        for name in ("secret_id_file", "token_file"):
            checked_place(getattr(self, name), name)
        if not all(Path(path).is_absolute() for path in (self.ca, self.kubernetes_token_file) if path):
            raise ValueError("paths must be absolute")


class VaultSession:
    """Reaches for Vault at the first use; one act at a time, with a token that is valid."""

    def __init__(self, access: VaultAccess, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._access, self._monotonic = access, monotonic
        self._client: Any = None
        self._renew_at = 0.0
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        return self._access.address

    def call(self, act: Callable[[Any], _Answer]) -> _Answer:
        """`act` on the client; with a new token, if the old one was refused.

        Raises: StorageError `keys-out-of-reach`, `keys-refused`: nothing was lost; what `act` raises of ours.
        """
        hvac, network = hvac_modules()
        with self._lock:
            try:
                client = self._signed_in(hvac)
                try:
                    return act(client)
                except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized):
                    self._sign_in(client)
                    return act(client)
            except hvac.exceptions.VaultDown as error:
                raise out_of_reach(self.where, "sealed, or on standby") from error
            except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized) as error:
                raise keys_refused(self.where, "permission denied") from error
            except hvac.exceptions.InvalidRequest as error:
                raise keys_refused(self.where, _said(error)) from error
            except hvac.exceptions.VaultError as error:
                raise out_of_reach(self.where, _said(error)) from error
            except network as error:
                raise out_of_reach(self.where, type(error).__name__) from error
            except (KeyError, TypeError, ValueError) as error:  # a redirect, a proxy's page
                raise out_of_reach(self.where, "its answer is not Vault's") from error

    def _signed_in(self, hvac: Any) -> Any:
        if self._client is None:
            client = hvac.Client(
                url=self._access.address,
                token="",
                verify=self._access.ca or True,
                timeout=_TIMEOUT,
                namespace=self._access.namespace or None,
                allow_redirects=False,  # the token would go along
            )
            self._sign_in(client)
            self._client = client
        elif self._monotonic() >= self._renew_at:
            self._renew(self._client, hvac)
        return self._client

    def _renew(self, client: Any, hvac: Any) -> None:
        try:
            self._lasts(client.auth.token.renew_self()["auth"]["lease_duration"])
        except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized, hvac.exceptions.InvalidRequest):
            self._sign_in(client)  # it has ended, or cannot be renewed

    def _sign_in(self, client: Any) -> None:
        """Sign in anew, or read the token's file again: an agent may have put a new one there."""
        access = self._access
        if access.token_file:
            client.token = _secret(access.token_file).reveal()
            self._lasts(client.auth.token.lookup_self()["data"]["ttl"])
            return
        client.token = ""
        if access.kubernetes_role:
            answer = client.auth.kubernetes.login(
                role=access.kubernetes_role,
                jwt=_pod_token(access.kubernetes_token_file),
                mount_point=access.kubernetes_mount,
            )
        else:
            answer = client.auth.approle.login(
                role_id=access.role_id,
                secret_id=_secret(access.secret_id_file).reveal(),
                mount_point=access.approle_mount,
            )
        client.token = answer["auth"]["client_token"]
        self._lasts(answer["auth"]["lease_duration"])

    def _lasts(self, seconds: int) -> None:
        """Renew it after half of its life; one with no end is never renewed."""
        self._renew_at = self._monotonic() + seconds / 2 if seconds else float("inf")


def hvac_modules() -> tuple[Any, type[Exception]]:
    """Raises: StorageError `missing-extra`."""
    try:
        import hvac
        import requests
    except ImportError as error:
        raise missing_extra("vault", "hvac", extra="vault") from error
    return hvac, requests.RequestException


def _secret(place: str) -> Secret:
    return read_secret(place, Strength.TOKEN, setting="Vault's secret")


def _pod_token(path: str) -> str:
    """A service account's token. The kubelet writes it as a link, readable in the pod, so its mode is not looked at."""
    try:
        with Path(path).open("rb") as file:
            token = file.read(_LONGEST_TOKEN + 1)
    except OSError as error:
        raise StorageError(
            f"The service account's token {path} cannot be read ({error.strerror}): mount it into the pod.",
            code="secret-missing",
        ) from error
    if len(token) > _LONGEST_TOKEN or not token.isascii():
        raise StorageError(f"{path} holds no service account's token: mount one into the pod.", code="secret-missing")
    return token.decode().strip()


def _said(error: Exception) -> str:
    """What Vault said, shortened; it never holds what we sent."""
    return str(error.args[0] if error.args else type(error).__name__)[:120]
