"""Environment and `casemate.toml` -> one frozen Settings. The only place that reads either.

The environment (`CASEMATE_HOME`, `CASEMATE_DATA_PORT`, ...) wins over `HOME/casemate.toml`, which wins over the defaults.
A secret is named, not written: `file:///PATH`, `env://NAME`, `vault://MOUNT/PATH#FIELD`, `aws-sm://NAME#FIELD`. It is read
once, at the start, and never printed (docs/secrets.md). An unknown key stops the start: a misspelt wall is no wall. So does one in the file that says whom to trust or which walls
stand: whoever can write the home would otherwise choose both.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin, get_type_hints

import msgspec

from casemate.core import InputError, Secret, is_text
from casemate.keys import Strength, is_reference, resolve_secret

FILE = "casemate.toml"
_PREFIX = "CASEMATE_"
_MOST = 1 << 20  # bytes of the file
# A home names neither its own trust nor its walls, nor whom to ask for secrets or to judge rows, nor what counts as far.
_NOT_IN_FILE = (
    "home",
    "keys",
    "accept_clock",
    "insecure_no_sandbox",
    "require_screening",
    "ray_address",
    "secrets_vault",
    "networks",
    "provider_secrets",
    "providers_here",
    "database_password",
    "database_keeper_password",
    "database_control_password",
    "database_gateway_password",
)
# Read elsewhere: by the client, by training scripts inside the sandbox, and by the test runner.
_NOT_SETTINGS = frozenset(
    f"CASEMATE_{name}"
    for name in (
        "SERVER",
        "KEY",
        "SUSPECT_KEY",
        "CA",
        "DATASET",
        "OUTPUT",
        "PARAMETERS",
        "METRICS",
        "BASE",
        "SEED",
        "REQUIRE_PROGRAMS",
        "TEST_DATABASE",
    )
)


Port = Annotated[int, msgspec.Meta(ge=0, le=65535, description="a port; 0 picks a free one")]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 50, description="bytes")]  # a pebibyte; more is a typing error
PerSecond = Annotated[float, msgspec.Meta(ge=0.01, le=1e6, description="requests a second")]
Url = Annotated[
    str,
    msgspec.Meta(pattern=r"^(https://[A-Za-z0-9.:_\[\]-]{1,253})?\Z", description="https://HOST or https://HOST:PORT"),
]
Wait = Annotated[float, msgspec.Meta(ge=0, le=60, description="seconds")]
RayAddress = Annotated[
    str,
    msgspec.Meta(pattern=r"^([A-Za-z0-9.:_\[\]-]{1,253}:[0-9]{1,5})?\Z", description="HOST:PORT of a cluster's head"),
]
# A name or an address, as the system takes it; an empty one would be every address of the machine.
Host = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.:_%-]{1,253}\Z", description="one address or name, no port")]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Safe as it stands. Unsafe choices have ugly names and are shown at start."""

    home: Path = Path("~/.casemate")
    keys: Path = Path("~/.config/casemate/keys")  # not beside the data: a copied home gives nothing
    # postgresql://USER@HOST/NAME, without a password; empty: what the home was made with, by default SQLite in the home
    database: str = ""
    database_keeper: str = ""  # the same with a role for each process of `casemate up`; empty: `database`
    database_control: str = ""
    database_gateway: str = ""
    database_password: Secret = Secret()  # by reference; for the URL that is set beside it, never for the home's own
    database_keeper_password: Secret = Secret()
    database_control_password: Secret = Secret()
    database_gateway_password: Secret = Secret()
    host: Host = "127.0.0.1"  # address on which both doors listen
    data_port: Port = 8443
    control_port: Port = 8444
    data_url: Url = ""  # https://HOST[:PORT] at which callers reach the data plane; empty: the address it listens on
    # https://NAME[:PORT] at which people reach the control plane; passkeys are bound to it. Empty: https://localhost:PORT
    control_url: Url = ""
    push_bytes: Bytes = 4 << 30  # most bytes in one push
    free_bytes: Bytes = 512 << 20  # bytes of disk that a push must leave free
    datasheets: Literal["optional", "required"] = "optional"  # required: a push without a whole datasheet is refused
    address_rate: PerSecond = 1000.0  # requests/s from one network; more behind a proxy
    # Whether each table that is pushed is looked at for personal data: `tell` says what is there, `refuse` also refuses what
    # the stated class does not cover, or what no purpose is stated for. A second and more for each push.
    personal_data: Literal["off", "tell", "refuse"] = "off"
    audit_wait: Wait = 0.05  # seconds that an answered prediction may wait for its place in the log ("standard")
    accept_clock: str = ""  # time of the newest entry of a log that ran ahead: the machine's clock is right now
    provider_secrets: Path = Path(
        "~/.config/casemate/providers"
    )  # folder of secrets that outside providers may be told
    providers_here: bool = False  # an outside provider may be on this very machine, or behind a link's own address
    secrets_vault: Path | None = None  # private TOML file that says how to reach Vault, for vault:// references
    networks: Path | None = None  # an operator's own file in MaxMind's format; names country or network of an address
    ray_address: RayAddress = ""  # where rows of large versions are judged (docs/screening.md); empty: on this machine
    require_screening: bool = False  # no dataset version is trained on that was not screened
    insecure_no_sandbox: bool = False  # models then run with your own rights


def load_settings(environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Settings from overrides, environment, file and defaults, in this order.

    Raises: InputError: an unknown key, or a value of the wrong type or out of range, named; a key that the file may
        not hold; a secret that is weak or written out. StorageError: a secret is missing, open to others, or its service is out of reach.
    """
    chosen = _from_environment(environ) | {key: value for key, value in overrides.items() if value is not None}
    for name in ("home", "keys"):
        _check_folder(name, str(chosen.get(name, getattr(Settings(), name))))
    home = Path(chosen.get("home", Settings().home)).expanduser().absolute()
    values = _from_file(home / FILE) | chosen | {"home": home}
    settings = _built(values, Settings, environ)
    for name in ("database", "database_keeper", "database_control", "database_gateway"):
        if getattr(settings, f"{name}_password") and not chosen.get(name):
            raise InputError(
                f"{name}_password goes with {name}, set beside it in the environment, so that a home's own file cannot "
                f"say who is told it: set {_PREFIX}{name.upper()}, too.",
                code="bad-setting",
            )
    return msgspec.structs.replace(settings, keys=settings.keys.expanduser().absolute())


_Made = TypeVar("_Made", bound=Settings)


def _built(values: dict[str, Any], kind: type[_Made], environ: Mapping[str, str]) -> _Made:
    """Check the types first, then ask for the secrets: a misspelt port must not cost a visit to Vault."""
    try:
        settings = msgspec.convert(values, kind, strict=False, dec_hook=decode_value)
    except msgspec.ValidationError as error:
        raise _wrong(error, values) from error
    if not all(isfinite(value) for value in (settings.address_rate, settings.audit_wait)):
        raise _out_of_range("audit_wait" if isfinite(settings.address_rate) else "address_rate", "not a number")
    vault = settings.secrets_vault.expanduser() if settings.secrets_vault else None
    found = {}
    for name in kind.__struct_fields__:
        named = getattr(settings, name)
        if isinstance(named, Secret) and named:
            if not is_reference(named.reveal()):
                raise InputError(
                    f"{name} holds a secret written out: put it into a file of mode 0600 and set {name} to "
                    "file:///PATH, or to env://NAME, vault://MOUNT/PATH#FIELD or aws-sm://NAME#FIELD.",
                    code="secret-written-out",
                )
            found[name] = resolve_secret(
                named.reveal(), setting=name, strength=Strength.PASSWORD, environ=environ, vault=vault
            )
    return msgspec.structs.replace(settings, **found)


def encode_value(value: Any) -> Any:
    """For JSON to a process of ours, over its standard input; never for a person, a file or a log."""
    return value.reveal() if isinstance(value, Secret) else str(value)


def decode_value(kind: type[Any], value: Any) -> Any:
    """As `encode_value` wrote it, or a person did. Raises: ValueError: never with the value."""
    if kind is Secret and not isinstance(value, str):
        raise ValueError("expected text")
    return kind(value)


def _wrong(error: msgspec.ValidationError, values: Mapping[str, Any]) -> InputError:
    """The sentence that names the setting, what it was set to, and what it may be."""
    name = str(error).rpartition("`$.")[2].rstrip("`")
    if name not in _MEANING:
        return InputError(f"A setting is wrong: {error}.", code="bad-setting")
    return _out_of_range(name, repr(values[name])[:80])


def _out_of_range(name: str, said: str) -> InputError:
    meta = _MEANING[name]
    bounds = f" from {meta.ge:g} to {meta.le:,}" if meta.ge is not None and meta.le is not None else ""
    return InputError(f"The setting {name} is {said}: set it to {meta.description}{bounds}.", code="bad-setting")


def _meaning() -> dict[str, msgspec.Meta]:
    hints = get_type_hints(Settings, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if get_origin(hint) is Annotated}


_MEANING = _meaning()


def _check_folder(name: str, path: str) -> None:
    if not path:
        raise InputError(f"The setting {name} is empty: name a folder, or leave it out.", code="bad-setting")
    if not is_text(path) or "\0" in path:
        raise InputError(f"The setting {name}, {path[:80]!r}, is no path in UTF-8: name another.", code="bad-setting")


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
        found = dict(msgspec.toml.decode(_read(path)))
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, ValueError) as error:
        raise InputError(f"{path} is not valid TOML: {error}.", code="bad-setting") from error
    for name in _NOT_IN_FILE:
        if name in found:
            raise InputError(
                f"{path} may not set {name!r}, since whoever writes the home would choose it: take it out, and use "
                f"{_PREFIX}{name.upper()} or a flag.",
                code="not-in-file",
            )
    return found


def _read(path: Path) -> bytes:
    """The file's bytes; a pipe, which might never say anything, is none. Raises: InputError `bad-setting`; OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST:
            raise InputError(f"{path} is no plain file of settings: take it away.", code="bad-setting")
        return file.read()
