"""Requests that no client should send: 500 a second, from a process of its own, and what was answered.

`python -m bench.soak.malformed URL SESSION RATE SECONDS` prints one line of JSON: {"sent", "seconds", "answers"}, the
latter by status; "closed": the line was cut without one; "left": never complete, so it was left after PATIENCE seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

CONNECTIONS = 50
ANSWER_SECONDS = 10.0
PATIENCE = 0.1
ENDLESS = 3  # so many of the kinds are never complete: a server waits for more
CUT = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # the beginning of a TLS handshake, sent to plain HTTP


def requests(host: str, session: str) -> list[bytes]:
    """One of each kind, as bytes on the wire."""

    def http(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
        if body or method in ("POST", "PATCH", "PUT"):
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    json_type, bad_token = "Content-Type: application/json", "Authorization: Bearer not-a-token"
    sdp = "Content-Type: application/sdp"
    form = "Content-Type: multipart/form-data; boundary=x"
    return [
        http("POST", "/v1/sessions", b"{", json_type),
        http("POST", "/v1/sessions", b"[" * 2000, json_type),
        http("POST", "/v1/sessions", b'{"student_id": 5, "avatar_id": ["x"]}', json_type),
        http("POST", "/v1/sessions", b"\xff\xfe\x00", json_type),
        http("POST", "/v1/sessions", b'{"student_id":"s","avatar_id":"' + b"a" * 5000 + b'"}', json_type),
        http("POST", f"/v1/sessions/{session}/whep", b"v=0\r\nm=video 9 X 96\r\n", sdp, bad_token),
        http("POST", f"/v1/sessions/{session}/whep", b"", sdp),
        http("PATCH", f"/v1/sessions/{session}/whep/nobody", b"a=candidate:x", sdp, bad_token),
        http("GET", f"/ws/{session}?token=wrong"),
        http("GET", "/v1/sessions/../../../etc/passwd"),
        http("GET", "/v1/avatars/%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
        http("GET", "/v1/avatars/" + "x" * 3000),
        http("GET", "/static/../config.yaml"),
        http("GET", "/static/%00"),
        http("POST", "/v1/avatars/upload", b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--", form),
        http("POST", "/v1/avatars/upload", b"--x\r\n\r\n", form),
        http("POST", "/v1/avatars", b'{"avatar_id":"../x","video_path":"/etc/passwd"}', json_type),
        http("POST", f"/v1/sessions/{session}/say", b'{"text": {}}', json_type, bad_token),
        http("DELETE", f"/v1/sessions/{session}", b"", bad_token),
        http("TRACE", "/"),
        http("BREW", "/v1/sessions"),
        http("GET", "/v1/sessions", b"", "X: " + "y" * 9000),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/sessions HTTP/1.1\r\nHost: " + b"z" * 20_000 + b"\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\r\n\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
        CUT,
    ]


async def flood(url: str, session: str, rate: float, seconds: float) -> dict[str, object]:
    """rate: requests a second, of all connections together; each is sent at its time whatever the answers take."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    assert parts.hostname.startswith("127.")
    every = requests(parts.netloc, session)
    kinds, endless = itertools.cycle(every), frozenset(every[-ENDLESS:])
    answers: Counter[str] = Counter()
    room = asyncio.Semaphore(CONNECTIONS)
    tasks: set[asyncio.Task[None]] = set()

    async def one(request: bytes) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                try:
                    writer.write(request)
                    async with asyncio.timeout(PATIENCE if request in endless else None):
                        line = await reader.readline()
                    words = line.split()
                    answers[words[1].decode("latin-1") if len(words) > 1 else "closed"] += 1
                finally:
                    writer.close()
        except TimeoutError:
            answers["left" if request in endless else "none"] += 1
        except OSError as error:
            answers[type(error).__name__] += 1
        finally:
            room.release()

    began, sent = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        while sent < now * rate:
            await room.acquire()
            task = asyncio.create_task(one(next(kinds)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(0.01)
    took = time.monotonic() - began
    await asyncio.gather(*tasks)
    return {"sent": sent, "seconds": took, "answers": dict(answers)}


if __name__ == "__main__":
    os.nice(5)
    target, session_id = sys.argv[1:3]
    print(json.dumps(asyncio.run(flood(target, session_id, float(sys.argv[3]), float(sys.argv[4])))))
