"""A release key in AWS KMS: `ECC_NIST_P256`, for signing only; a ref is its ARN."""

from __future__ import annotations

from casemate.keys.aws_kms import AwsKmsProvider, make_aws_kms
from casemate.keys.p256 import pem_of_der


class AwsSigner:
    def __init__(self, kms: AwsKmsProvider, home: str) -> None:
        """Args: home: its id, with which its keys are tagged."""
        self._kms, self._home = kms, home

    def make(self) -> str:
        tags = [{"TagKey": "casemate-home", "TagValue": self._home}]
        return str(
            self._kms.call(
                lambda kms: kms.create_key(
                    Description=f"Casemate {self._home} release", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Tags=tags
                )["KeyMetadata"]["Arn"]
            )
        )  # fmt: skip

    def sign(self, ref: str, digest: bytes) -> bytes:
        return bytes(
            self._kms.call(
                lambda kms: kms.sign(KeyId=ref, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256")[
                    "Signature"
                ]
            )
        )

    def public_pem(self, ref: str) -> bytes:
        return pem_of_der(bytes(self._kms.call(lambda kms: kms.get_public_key(KeyId=ref)["PublicKey"])))


def make_aws_signer(settings: dict[str, str], home: str) -> AwsSigner:
    """Raises: InputError `bad-key-settings`; StorageError `missing-extra`."""
    return AwsSigner(make_aws_kms(settings, home), home)
