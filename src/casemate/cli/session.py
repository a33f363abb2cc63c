"""How a command reaches the control plane: a server by key or session, the running home, or the home opened in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.kept_sessions import AskForCode, load_session
from casemate.client import Casemate
from casemate.core import InputError
from casemate.core.wire import is_served
from casemate.settings import Settings, load_settings

if TYPE_CHECKING:  # loaded where a home does not open, not by every command
    from casemate.app.unopened import UnopenedLog


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
    def client(self, *, anonymous: bool = False) -> Iterator[Casemate]:
        """A client for the place that the options name. Args: anonymous: for what needs nobody."""
        if self.server:
            with self._remote(anonymous=anonymous) as casemate:
                yield casemate
            return
        settings = self.settings()
        served = settings.home / "run" / "control.sock"
        with (
            nullcontext(served) if is_served(served) else _own_socket(settings) as socket,
            Casemate(socket=socket, step_up=AskForCode(None)) as casemate,
        ):
            yield casemate

    def _remote(self, *, anonymous: bool) -> Casemate:
        """As a service whose key is in the environment, or else as the person who signed in there."""
        ca = self.ca or None
        if anonymous:
            return Casemate(server=self.server, ca=ca)
        if key := os.environ.get("CASEMATE_KEY", ""):
            return Casemate(server=self.server, key=key, ca=ca)
        kept = load_session(self.server)
        if kept is None or not kept.token:
            raise InputError(
                f"Sign in first: casemate --server {self.server} login. Or put a service's key into the environment as "
                "CASEMATE_KEY.",
                code="no-key",
            )
        return Casemate(server=self.server, key=kept.token, ca=ca, step_up=AskForCode(kept))

    def served(self) -> bool:
        """Whether a server runs that predictions can reach."""
        return bool(self.server) or is_served(self.settings().home / "run" / "gateway.sock")

    def unopened_log(self) -> AbstractContextManager[UnopenedLog]:
        """The log of a home that was altered and so does not open, to be read alone."""
        from casemate.app.unopened import unopened_log

        return unopened_log(self.settings())


def _own_socket(settings: Settings) -> AbstractContextManager[Path]:
    from casemate.app.local import control_socket

    return control_socket(settings)


pass_session = click.make_pass_decorator(Session)
