"""How a command reaches the control plane: a server by key, the running home, or the home opened in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from casemate.client import Casemate
from casemate.core import InputError
from casemate.core.wire import is_served
from casemate.settings import Settings, load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The options that stand before the noun."""

    home: Path | None
    server: str
    ca: str
    insecure_no_sandbox: bool

    def settings(self, **overrides: Any) -> Settings:
        return load_settings(home=self.home, insecure_no_sandbox=self.insecure_no_sandbox or None, **overrides)

    @contextmanager
    def client(self) -> Iterator[Casemate]:
        """A client for the place that the options name."""
        if self.server:
            key = os.environ.get("CASEMATE_KEY", "")
            if not key:
                raise InputError("Put the key into the environment as CASEMATE_KEY.", code="no-key")
            with Casemate(server=self.server, key=key, ca=self.ca or None) as casemate:
                yield casemate
            return
        settings = self.settings()
        served = settings.home / "run" / "control.sock"
        with (
            nullcontext(served) if is_served(served) else _own_socket(settings) as socket,
            Casemate(socket=socket) as casemate,
        ):
            yield casemate

    def verify_unopened(self, against: str | None) -> dict[str, Any]:
        """What verification says of a home whose altered log keeps it from being opened."""
        from casemate.app.local import verify_unopened

        return verify_unopened(self.settings(), against)


def _own_socket(settings: Settings) -> AbstractContextManager[Path]:
    from casemate.app.local import control_socket

    return control_socket(settings)


pass_session = click.make_pass_decorator(Session)
