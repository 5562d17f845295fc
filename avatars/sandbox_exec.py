"""Takes limits upon itself and becomes the command: `python -I -S sandbox_exec.py LIMITS-AS-JSON COMMAND...`.

A launcher instead of `preexec_fn`, which may deadlock in a process that has threads.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)


def main() -> None:
    limits = json.loads(sys.argv[1])
    parent = limits["parent"]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a server that is killed takes its children along
    if os.getppid() != parent:
        sys.exit(1)
    if limits["nice"]:
        os.nice(limits["nice"])
    for name, soft, hard in limits["rlimits"]:
        kind = getattr(resource, name)
        ceiling = resource.getrlimit(kind)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(kind, (soft, hard))
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
