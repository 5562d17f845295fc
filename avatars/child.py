"""How a building child talks to its parent: one JSON object a line on standard output."""

from __future__ import annotations

import errno
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

from avatars.errors import MESSAGES, AvatarError

_STEP = 0.01  # progress is not said more often than this


def say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


class Meter:
    """Says how far the child is, 0..1, only when it has moved on by a step."""

    def __init__(self) -> None:
        self._last = -1.0

    def __call__(self, progress: float) -> None:
        progress = min(max(progress, 0.0), 1.0)
        if progress - self._last >= _STEP:
            self._last = progress
            say(progress=round(progress, 3))


def run(main: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Run a child's `main` on the job of the command line (JSON); its answer, or the coded error, is the last line.

    Exit status: 0 with a result, 2 with a coded error. Anything unexpected is told as "internal", its traceback on
    standard error, where the parent logs it.
    """
    try:
        say(result=main(json.loads(sys.argv[1])))
        return
    except AvatarError as error:
        say(error=error.code, message=str(error))
    except MemoryError:
        say(error="too_much_memory", message=MESSAGES["too_much_memory"])
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        traceback.print_exc()
        code = "disk_full" if full else "internal"
        say(error=code, message=MESSAGES[code])
    except Exception:  # noqa: BLE001 - the boundary of the process: whatever it is becomes a coded answer
        traceback.print_exc()
        say(error="internal", message=MESSAGES["internal"])
    sys.exit(2)
