"""Environment and `casemate.toml` -> one frozen Settings. The only place that reads either.

The environment (`CASEMATE_HOME`, `CASEMATE_DATA_PORT`, ...) wins over `HOME/casemate.toml`, which wins over the defaults.
An unknown key stops the start: a misspelt wall is no wall.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from casemate.core import InputError

FILE = "casemate.toml"
_PREFIX = "CASEMATE_"
# Read elsewhere: by the client, by training scripts inside the sandbox, and by the test runner.
_NOT_SETTINGS = frozenset(
    f"CASEMATE_{name}" for name in ("SERVER", "KEY", "CA", "DATASET", "OUTPUT", "PARAMETERS", "REQUIRE_PROGRAMS")
)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Safe as it stands. Unsafe choices have ugly names and are shown at start."""

    home: Path = Path("~/.casemate")
    keys: Path = Path("~/.config/casemate/keys")  # not beside the data: a copied home gives nothing
    host: str = "127.0.0.1"  # address on which both doors listen
    data_port: int = 8443
    control_port: int = 8444
    push_bytes: int = 4 << 30  # most bytes in one push
    free_bytes: int = 512 << 20  # bytes of disk that a push must leave free
    address_rate: Annotated[float, msgspec.Meta(gt=0)] = 1000.0  # requests/s from one network; more behind a proxy
    audit_wait: float = 0.05  # seconds that an answered prediction may wait for its place in the log ("standard")
    insecure_no_sandbox: bool = False  # models then run with your own rights


def load_settings(environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Settings from overrides, environment, file and defaults, in this order.

    Raises: InputError: an unknown key or a value of the wrong type, named.
    """
    chosen = _from_environment(environ) | {key: value for key, value in overrides.items() if value is not None}
    home = Path(chosen.get("home", Settings().home)).expanduser().absolute()
    values = _from_file(home / FILE) | chosen | {"home": home}
    try:
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as error:
        raise InputError(f"A setting is wrong: {error}.", code="bad-setting") from error
    return msgspec.structs.replace(settings, keys=settings.keys.expanduser().absolute())


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = set(Settings.__struct_fields__)
    found = {}
    for key, value in environ.items():
        if not key.startswith(_PREFIX) or key in _NOT_SETTINGS:
            continue
        name = key.removeprefix(_PREFIX).lower()
        if name not in known:
            raise InputError(
                f"{key} in the environment is not a setting of Casemate: unset it.", code="unknown-setting"
            )
        found[name] = value
    return found


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return dict(msgspec.toml.decode(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, ValueError) as error:
        raise InputError(f"{path} is not valid TOML: {error}.", code="bad-setting") from error
