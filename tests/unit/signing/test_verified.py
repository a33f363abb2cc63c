"""A model earns its type: each way of not deserving it is refused, with its own code."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import pytest
from release_parts import NOW, KeyHolder, Release, sealed, signer_of

from casemate.core import AssetKind, ServedFile, VerificationError
from casemate.signing import (
    Predicate,
    TrustedSigner,
    TrustPolicy,
    VerifiedModel,
    sign_statement,
    verify_model,
)


def refused(code, stored, trust, at=NOW):
    with pytest.raises(VerificationError) as caught:
        verify_model(stored, trust, at=at)
    assert caught.value.code == code
    for file in stored.files.values():
        assert file.fd == -1, "a refused file stays open"


def test_the_bytes_that_were_checked_are_the_ones_handed_on(release, trust):
    with verify_model(release.stored(), trust, at=NOW) as model:
        assert model.files["model.onnx"].read() == b"weights"
        with pytest.raises(OSError, match="not permitted"):
            os.pwrite(model.files["model.onnx"].fd, b"x", 0)
        assert model.about.number == 1
        assert model.statements[Predicate.SCAN].facts["verdict"] == "clean"


def test_nobody_else_makes_one(release):
    with pytest.raises(TypeError):
        VerifiedModel(object(), about=None, manifest={}, signature=None, served=None, files={}, statements={})


@pytest.mark.parametrize(
    ("contents", "code"),
    [
        ({"model.onnx": b"weighty", "a/empty": b""}, "file-changed"),
        ({"a/empty": b""}, "file-missing"),
        ({"model.onnx": b"weights"}, "file-missing"),
        ({"model.onnx": b"weights", "a/empty": b"", "b": b""}, "file-unexpected"),
        ({"model.onnx": b"weights", "a/empty": b"", ".git/hooks/run": b"evil"}, "file-unexpected"),
        ({"model.onnx": b"weights", "a/empty": b"", ".gitignore": b"*"}, "file-unexpected"),
    ],
)
def test_files_are_exactly_those_that_were_signed(release, trust, contents, code):
    release.signed_contents = {"model.onnx": b"weights", "a/empty": b""}
    release.contents = contents
    refused(code, release.stored(), trust)


@pytest.mark.parametrize("change", [{"name": "other"}, {"number": 2}, {"project": "other"}])
def test_a_release_cannot_stand_under_another_name_or_number(release, trust, change):
    version = release.version()
    moved = replace(version, about=_changed(version.about, **change))
    refused("name-mismatch", release.stored(moved), trust)


def test_a_dataset_is_no_model(release, trust):
    version = release.version()
    moved = replace(version, about=_changed(version.about, kind=AssetKind.DATASET))
    refused("kind-mismatch", release.stored(moved), trust)


def test_another_manifest_is_refused(release, trust):
    version = release.version()
    refused("manifest-changed", release.stored(replace(version, manifest=version.manifest + b" ")), trust)


@pytest.mark.parametrize("predicate", ["FILES", "RELEASE", "SCAN"])
def test_each_signature_is_needed(release, trust, predicate):
    version = release.version()
    left = {p: e for p, e in version.attestations.items() if p != Predicate[predicate]}
    refused("signature-missing", release.stored(replace(version, attestations=left)), trust)


@pytest.mark.parametrize(
    ("predicate", "code"), [("FILES", "bundle-mismatch"), ("RELEASE", "name-mismatch"), ("SCAN", "name-mismatch")]
)
def test_signatures_of_another_version_are_refused(release, trust, predicate, code):
    other = Release(release.signer, number=2, contents={"model.onnx": b"other"}).version()
    refused(code, release.stored(**{predicate: other.attestations[Predicate[predicate]]}), trust)


def test_same_name_and_number_but_other_content_is_refused(release, trust):
    other = Release(release.signer, contents={"model.onnx": b"other"}).version()
    refused("digest-mismatch", release.stored(SCAN=other.attestations[Predicate.SCAN]), trust)


def test_a_statement_of_one_kind_does_not_serve_as_another(release, trust):
    version = release.version()
    refused("predicate-mismatch", release.stored(version, SCAN=version.attestations[Predicate.RELEASE]), trust)


def test_a_scan_that_was_not_clean_is_refused(release, trust):
    release.scan["verdict"] = "refused"
    refused("scan-not-clean", release.stored(), trust)


@pytest.mark.parametrize(
    "served",
    [
        ...,
        {"path": "model.onnx"},
        {"path": "model.onnx", "runtime": "pickle"},
        {"path": "other.onnx", "runtime": "onnx"},
        "model.onnx",
    ],
)
def test_a_scan_that_does_not_say_which_file_is_the_model_is_refused(release, trust, served):
    release.scan = {"verdict": "clean"} if served is ... else {"verdict": "clean", "served": served}
    refused("scan-incomplete", release.stored(), trust)


def test_a_verified_model_tells_what_the_signed_scan_found(release, trust):
    with verify_model(release.stored(), trust, at=NOW) as model:
        assert model.served == ServedFile(path="model.onnx", runtime="onnx")
    release.scan["served"] = None
    with verify_model(release.stored(), trust, at=NOW) as model:
        assert model.served is None


def test_lineage_needs_its_statement(release, trust):
    release.lineage = {"script": "sha256:" + "1" * 64}
    version = release.version()
    lie = sign_statement(Predicate.TRAINING, version.about, {"script": "x"}, signer=release.signer, at=NOW)
    refused("lineage-mismatch", release.stored(version, TRAINING=lie), trust)
    left = {p: e for p, e in version.attestations.items() if p != Predicate.TRAINING}
    refused("signature-missing", release.stored(replace(version, attestations=left)), trust)
    verify_model(release.stored(version), trust, at=NOW).close()


def test_a_stranger_is_not_trusted(release, trust):
    release.signer = signer_of(KeyHolder())
    refused("signer-not-trusted", release.stored(), trust)


@pytest.mark.parametrize("predicate", [Predicate.FILES, Predicate.RELEASE, Predicate.SCAN])
def test_trust_is_by_predicate(holder, release, predicate):
    allowed = tuple(p for p in Predicate if p is not predicate)
    refused(
        "signer-not-trusted",
        release.stored(),
        TrustPolicy([TrustedSigner(pem=holder.pem.decode(), may_sign=allowed)]),
    )


def test_trust_ends(holder, release):
    until = TrustedSigner(
        pem=holder.pem.decode(),
        may_sign=tuple(Predicate),
        not_before="2026-11-01T00:00:00Z",
        not_after="2026-12-01T00:00:00Z",
    )
    verify_model(release.stored(), TrustPolicy([until]), at=NOW).close()
    refused("certificate-expired", release.stored(), TrustPolicy([until]), at=NOW + timedelta(days=30))
    refused("certificate-expired", release.stored(), TrustPolicy([until]), at=NOW - timedelta(days=30))


def test_removed_and_foreign_projects_signers_are_not_trusted(holder, release):
    entry = TrustedSigner(pem=holder.pem.decode(), may_sign=tuple(Predicate))
    removed = TrustedSigner(pem=holder.pem.decode(), may_sign=(), removed=True)
    foreign = TrustedSigner(pem=holder.pem.decode(), may_sign=tuple(Predicate), project="other")
    refused("signer-not-trusted", release.stored(), TrustPolicy([entry, removed]))
    refused(
        "signer-not-trusted",
        release.stored(),
        TrustPolicy.fold([{"pem": foreign.pem, "may_sign": list(Predicate), "project": "other"}]),
    )


def test_a_record_of_trust_that_cannot_be_read_trusts_nobody():
    for body in ({"pem": "nonsense", "may_sign": []}, {"may_sign": []}, "text", {"pem": "x", "may_sign": ["y"]}):
        with pytest.raises(VerificationError) as caught:
            TrustPolicy.fold([body])
        assert caught.value.code == "trust-malformed"


def test_what_is_sealed_later_is_judged_not_a_path(release, trust, tmp_path):
    """Upstream verifies a path that a loader opens again: the file behind it can change in between. Ours cannot."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    stored = release.stored()
    with verify_model(stored, trust, at=NOW) as model:
        path.write_bytes(b"evil")
        assert model.files["model.onnx"].path.read_bytes() == b"weights"
    assert sealed({"x": b"1"})["x"].digest.startswith("sha256:")


def _changed(about, **change):
    import msgspec

    return msgspec.structs.replace(about, **change)
