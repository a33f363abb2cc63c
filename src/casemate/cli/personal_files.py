"""Files that are looked at, made anonymous or turned back on this machine, with key files of one's own: on nobody's record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from casemate.cli import output
from casemate.cli.scan_commands import sealed_file
from casemate.client.files import write_private_file
from casemate.core import InputError, refused_by_system

if TYPE_CHECKING:
    from casemate.privacy import PersonalConfig


def anonymize_file(
    path: Path,
    out: Path,
    policy: bytes,
    *,
    key: Path | None,
    reversible_key: Path | None,
    config: PersonalConfig,
    insecure: bool,
) -> dict[str, Any]:
    """The report, with `path`: the new file; None where the policy refuses, and nothing is written. Raises: InputError; SandboxError."""
    from casemate.privacy import Keys, KeyUse, anonymise_dataset, read_key, read_policy
    from casemate.scanning import convert_dataset

    new_file(out)
    with ExitStack() as closing, output.working(f"anonymizing {path.name}"):
        source = closing.enter_context(sealed_file(path))
        asked = read_policy(policy)
        keys = Keys(
            pseudonym=read_key(key, KeyUse.PSEUDONYM) if key else b"",
            reversible=read_key(reversible_key, KeyUse.REVERSIBLE) if reversible_key else b"",
        )
        table = closing.enter_context(convert_dataset(source, path.name, insecure=insecure))
        done = closing.enter_context(
            anonymise_dataset(table.parquet, asked, keys=keys, config=config, insecure=insecure)
        )
        if done.parquet is not None:
            write_new(out, done.parquet.chunks())
    return {**msgspec.to_builtins(done.report), "path": None if done.parquet is None else str(out)}


def reidentify_file(
    path: Path,
    out: Path,
    *,
    column: str,
    values: Sequence[str],
    domain: str,
    reversible_key: Path,
    insecure: bool,
) -> dict[str, Any]:
    """`{"path", "column", "rows"}`. Raises: InputError; SandboxError."""
    from casemate.privacy import KeyUse, read_key, reidentify_dataset
    from casemate.scanning import convert_dataset

    key = read_key(reversible_key, KeyUse.REVERSIBLE)
    with ExitStack() as closing, output.working(f"reading {path.name}"):
        source = closing.enter_context(sealed_file(path))
        table = closing.enter_context(convert_dataset(source, path.name, insecure=insecure))
        shown = closing.enter_context(
            reidentify_dataset(table.parquet, column=column, domain=domain, key=key, values=values, insecure=insecure)
        )
        write_new(out, shown.parquet.chunks())
        return {"path": str(out), "column": column, "rows": shown.rows}


def config_of(regions: tuple[str, ...], *, second_opinion: bool) -> PersonalConfig:
    """What a look is asked for. Raises: InputError `personal-region`."""
    from casemate.privacy import PersonalConfig

    plain = PersonalConfig(second_opinion=second_opinion)
    named = tuple(region.upper() for region in regions)
    if named:
        from phonenumbers import SUPPORTED_REGIONS

        unknown = sorted(set(named) - set(SUPPORTED_REGIONS))
        if unknown:
            raise InputError(
                f"There is no region {unknown[0][:20]!r}: name a country by two letters, as US.", code="personal-region"
            )
    return msgspec.structs.replace(plain, regions=named) if named else plain


def new_file(path: Path) -> None:
    """Return if nothing is there. Raises: InputError `exists`."""
    if path.exists() or path.is_symlink():
        raise InputError(f"{path} exists: name a new file.", code="exists")


def read_file(path: Path) -> bytes:
    """Raises: InputError `no-file`."""
    with sealed_file(path) as file:
        return file.read()


def write_new(path: Path, chunks: Iterable[bytes]) -> None:
    """A new file of the owner's alone; what breaks off leaves nothing. Raises: InputError `exists`; the system refuses."""
    new_file(path)
    try:
        write_private_file(path, chunks)
    except OSError as error:
        raise refused_by_system(error) from error
