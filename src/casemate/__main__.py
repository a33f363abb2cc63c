"""`python -m casemate`, and the console script: Ctrl-C and SIGTERM are an ordinary end from the first moment on."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

_INTERRUPTED = b'{"error": "Interrupted.", "code": "interrupted"}\n'


def _at_once(number: int, _: FrameType | None) -> None:
    if "--json" in sys.argv:
        os.write(1, _INTERRUPTED)
    os.write(2, b"Interrupted.\n")
    os._exit(128 + number)  # nothing has begun; what is being imported need not be left in order


def _in_order(number: int, _: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(number)


def main() -> None:
    """Import the command line, which takes a moment, and run it."""
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    ours = [number for number, default in defaults.items() if signal.getsignal(number) is default]
    for number in ours:  # else our parent wants it ignored
        signal.signal(number, _at_once)
    from casemate.cli import main as command_line

    for number in ours:
        signal.signal(number, _in_order)
    command_line()


if __name__ == "__main__":
    main()
