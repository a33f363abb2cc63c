"""Secrets by reference: `file:///PATH`, `env://NAME`, `vault://MOUNT/PATH#FIELD`, `aws-sm://NAME#FIELD`.

A secret stands in one of these places and never on a command line. What is default, weak, or readable by others is
refused with the sentence that mends it; no message holds the value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from casemate.core import InputError, Secret
from casemate.keys.files import read_private
from casemate.keys.secret_places import bad_reference, checked_text, read_place
from casemate.keys.secret_strength import Strength, check_strength
from casemate.keys.vault_session import VaultAccess, VaultSession

_VAULT = re.compile(r"([A-Za-z0-9_-]{1,64})/([A-Za-z0-9_./-]{1,256})#([A-Za-z0-9_.-]{1,128})")


def resolve_secret(
    text: str, *, setting: str, strength: Strength, environ: Mapping[str, str] = os.environ, vault: Path | None = None
) -> Secret:
    """What the reference `text` names.

    Args: setting: its name, for messages. vault: private file (TOML) that says how to reach Vault, for `vault://`.
    Raises: InputError `bad-secret-reference`, `weak-secret`; StorageError `secret-missing`, `open-to-others`,
        `keys-out-of-reach`, `keys-refused`, `missing-extra`.
    """
    if text.startswith("vault://"):
        found = _from_vault(text.removeprefix("vault://"), vault)
    else:
        found = read_place(text, setting=setting, environ=environ)
    check_strength(found, setting=setting, strength=strength)
    return Secret(found)


def _from_vault(rest: str, access: Path | None) -> str:
    """From a KV engine of version 2."""
    found = _VAULT.fullmatch(rest)
    if not found or ".." in found[2].split("/"):
        raise bad_reference("vault:// takes a mount, a path and a field, as in vault://kv/casemate/database#password")
    if access is None:
        raise InputError(
            "A setting names a secret in Vault, and nothing says how to reach it: set CASEMATE_SECRETS_VAULT to a file, "
            "as docs/secrets.md says.",
            code="bad-secret-reference",
        )
    mount, path, field = found.groups()

    def act(client: Any) -> Any:
        from hvac.exceptions import InvalidPath

        try:
            answer = client.secrets.kv.v2.read_secret_version(
                path=path, mount_point=mount, raise_on_deleted_version=True
            )
        except InvalidPath:
            return None
        return answer["data"]["data"].get(field)

    return checked_text(VaultSession(load_vault_access(access)).call(act), f"vault://{rest}")


def load_vault_access(path: Path) -> VaultAccess:
    """How to reach Vault, from a private TOML file. Raises: InputError `bad-secret-reference`; StorageError."""
    try:
        return msgspec.toml.decode(read_private(path), type=VaultAccess)
    except (msgspec.DecodeError, ValueError) as error:
        raise InputError(f"{path} does not say how to reach Vault: {error}.", code="bad-secret-reference") from error
