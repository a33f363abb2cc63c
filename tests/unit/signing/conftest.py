"""A released model to take apart, and whom to trust."""

from __future__ import annotations

import pytest
from release_parts import KeyHolder, Release, signer_of

from casemate.signing import TrustPolicy, initial_trust


@pytest.fixture
def holder() -> KeyHolder:
    return KeyHolder()


@pytest.fixture
def release(holder: KeyHolder) -> Release:
    return Release(signer_of(holder))


@pytest.fixture
def trust(holder: KeyHolder) -> TrustPolicy:
    return TrustPolicy.fold([initial_trust(holder.pem)])
