"""A release key in a PKCS#11 token: ECDSA P-256, not extractable; a ref is its CKA_ID."""

from __future__ import annotations

import os
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from casemate.keys.hsm import HsmProvider, make_hsm
from casemate.keys.p256 import pem_of_der

_ID = 16  # bytes of a key's CKA_ID
_HALF = 32  # bytes of each number in a signature


class HsmSigner:
    def __init__(self, token: HsmProvider, home: str) -> None:
        """Args: home: its id, which labels its keys."""
        self._token, self._label = token, f"casemate {home} release"

    def make(self) -> str:
        name = os.urandom(_ID)

        def act(pkcs11: Any, session: Any) -> None:
            from pkcs11.util.ec import encode_named_curve_parameters

            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC,
                {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
                local=True,
            )
            parameters.generate_keypair(
                id=name,
                label=self._label,
                store=True,
                capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
                private_template={pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False},
            )

        self._token.call(act)
        return name.hex()

    def sign(self, ref: str, digest: bytes) -> bytes:
        def act(pkcs11: Any, session: Any) -> bytes:
            key = self._find(pkcs11, session, pkcs11.ObjectClass.PRIVATE_KEY, ref)
            return bytes(key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA))

        raw = self._token.call(act)
        return encode_dss_signature(int.from_bytes(raw[:_HALF]), int.from_bytes(raw[_HALF:]))

    def public_pem(self, ref: str) -> bytes:
        def act(pkcs11: Any, session: Any) -> bytes:
            from pkcs11.util.ec import encode_ec_public_key

            return bytes(encode_ec_public_key(self._find(pkcs11, session, pkcs11.ObjectClass.PUBLIC_KEY, ref)))

        return pem_of_der(self._token.call(act))

    def _find(self, pkcs11: Any, session: Any, kind: Any, ref: str) -> Any:
        del pkcs11
        return session.get_key(object_class=kind, label=self._label, id=bytes.fromhex(ref))


def make_hsm_signer(settings: dict[str, str], home: str) -> HsmSigner:
    """Raises: InputError `bad-key-settings`; StorageError `missing-extra`."""
    return HsmSigner(make_hsm(settings, home), home)
