"""Answers that nobody on the way keeps or takes for something else: sessions, secrets shown once and rows are among them.

Sources: RFC 9111, section 5.2.2.5; RFC 6749, section 5.1; WHATWG Fetch, `X-Content-Type-Options`.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNKEPT = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Unkept:
    """Puts these headers on each answer that does not say otherwise, as the pages' files do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                said = {name.lower() for name, _ in headers}
                headers += [
                    (name.lower().encode(), value.encode())
                    for name, value in UNKEPT.items()
                    if name.lower().encode() not in said
                ]
            await send(message)

        await self._app(scope, receive, sent)
