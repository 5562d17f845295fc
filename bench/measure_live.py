"""Figures in Chromium: frames a second, freezes, time to the first frame, cost of sessions and viewers, a stall."""

from __future__ import annotations

import os
import signal
import statistics
import time

import numpy as np

from bench.browser import Browser
from bench.figures import Figure, spread
from bench.serving import Server

STARTS = 9


def first_frame(server: Server, browser: Browser, avatar_id: str) -> Figure:
    """Offer sent → first decoded frame, each time on a session of its own."""
    times = []
    for run in range(STARTS):
        session = server.session(avatar_id)
        times.append(browser.join(session, f"start{run}"))
        browser.leave(f"start{run}")
        server.call("DELETE", f"/v1/sessions/{session.id}")
    median = statistics.median(times)
    return Figure("offer → first decoded frame", "≤ 450 ms median", f"{median:.0f} ms", median <= 450, spread(times))


def one_session(server: Server, browser: Browser, avatar_id: str, seconds: float) -> list[Figure]:
    """One session: idle, speaking, with further viewers; frames a second and freezes while it speaks."""
    session = server.session(avatar_id)
    browser.join(session, "one")
    time.sleep(3)
    idle = server.cores(min(20.0, seconds))
    server.talk(session, 4)
    time.sleep(2)
    browser.frames("one")
    before = browser.stats("one")["video"]
    speaking = server.cores(seconds)
    after = browser.stats("one")["video"]
    shown = browser.frames("one")
    elapsed = (after["timestamp"] - before["timestamp"]) / 1000
    rate = (after["framesDecoded"] - before["framesDecoded"]) / elapsed
    gap = float(np.diff([frame[0] for frame in shown]).max())
    for extra in range(4):
        browser.join(session, f"extra{extra}")
    time.sleep(2)
    more = (server.cores(min(20.0, seconds)) - speaking) / 4
    for extra in range(4):
        browser.leave(f"extra{extra}")
    browser.leave("one")
    server.call("DELETE", f"/v1/sessions/{session.id}")
    return [
        Figure(f"video decoded over {elapsed:.0f} s while speaking", "≥ 24.5 fps", f"{rate:.2f} fps", rate >= 24.5),
        Figure("longest gap between displayed frames", "≤ 200 ms", f"{gap:.0f} ms", gap <= 200, f"{len(shown)} frames"),
        Figure("whole server, one speaking session", "≤ 0.45 core", f"{speaking:.2f} core", speaking <= 0.45),
        Figure("whole server, the session idle", "≤ 0.25 core", f"{idle:.2f} core", idle <= 0.25),
        Figure("each further viewer", "≤ 0.03 core", f"{more:.3f} core", more <= 0.03, "mean of 4"),
    ]


def four_sessions(server: Server, browser: Browser, avatar_id: str, seconds: float) -> list[Figure]:
    """Four speaking sessions at once, each with its viewer."""
    sessions = [server.session(avatar_id) for _ in range(4)]
    for index, session in enumerate(sessions):
        browser.join(session, f"four{index}")
        server.talk(session, 3)
    time.sleep(3)
    before = [browser.stats(f"four{i}")["video"] for i in range(4)]
    began, made = time.monotonic(), [_pictures(server, session.id) for session in sessions]
    cores = server.cores(seconds)
    made = [_pictures(server, session.id) - count for session, count in zip(sessions, made, strict=True)]
    sent = min(made) / (time.monotonic() - began)
    after = [browser.stats(f"four{i}")["video"] for i in range(4)]
    rates = [
        (b["framesDecoded"] - a["framesDecoded"]) / ((b["timestamp"] - a["timestamp"]) / 1000)
        for a, b in zip(before, after, strict=True)
    ]
    for index, session in enumerate(sessions):
        browser.leave(f"four{index}")
        server.call("DELETE", f"/v1/sessions/{session.id}")
    slowest = min(rates)
    return [
        Figure("whole server, 4 speaking sessions", "≤ 1.5 cores", f"{cores:.2f} cores", cores <= 1.5),
        Figure(
            "slowest of the 4",
            "25 fps (≥ 24.5)",
            f"{slowest:.2f} fps",
            slowest >= 24.5,
            f"decoded in Chromium on the same cores; sent by the server: {sent:.2f} fps",
        ),
    ]


def _pictures(server: Server, session_id: str) -> int:
    """Pictures of a session that were encoded, thus sent."""
    return int(server.call("GET", f"/v1/sessions/{session_id}/stats")["live"]["pictures"])


def second_session_memory(server: Server, browser: Browser, avatar_id: str) -> Figure:
    """What a second speaking session on the same avatar adds to the server's own memory."""
    used = []
    sessions = []
    for index in range(2):
        session = server.session(avatar_id)
        sessions.append(session)
        browser.join(session, f"memory{index}")
        server.talk(session, 0.5)
        time.sleep(8)
        used.append(server.memory())
    for index, session in enumerate(sessions):
        browser.leave(f"memory{index}")
        server.call("DELETE", f"/v1/sessions/{session.id}")
    more = used[1] - used[0]
    return Figure("memory for a second session", "≤ 60 MB", f"{more:.0f} MB", more <= 60, f"first: {used[0]:.0f} MB")


def stall(server: Server, browser: Browser, avatar_id: str) -> Figure:
    """The whole process stands still for 1 s; how soon is a frame displayed within 100 ms of being made again?

    The server's packets carry the instant of their making as RTP time. The offset to the browser's clock is unknown but
    constant, so it is taken from the best frame before the stall, which is given the least latency that a packet was
    ever seen to need (one frame's decode and a display refresh, 20 ms).
    """
    session = server.session(avatar_id)
    browser.join(session, "stall")
    server.talk(session, 1.5)
    time.sleep(8)
    calm = np.array([(f[0], f[1]) for f in browser.frames("stall")])
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        time.sleep(1.0)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
        resumed = time.time() * 1000
    time.sleep(6)
    after = np.array([(f[0], f[1]) for f in browser.frames("stall")])
    browser.leave("stall")
    server.call("DELETE", f"/v1/sessions/{session.id}")
    origin = calm[0, 1]

    def latency(rows: np.ndarray) -> np.ndarray:
        made = ((rows[:, 1] - origin).astype(np.int64) & 0xFFFFFFFF) / 90.0
        return np.asarray(rows[:, 0] - made)

    base = float(latency(calm[len(calm) // 2 :]).min()) - 20.0
    usual = float(np.median(latency(calm[len(calm) // 2 :]))) - base
    fresh = after[after[:, 0] > resumed]
    late = latency(fresh) - base
    over = np.nonzero(late > 100)[0]
    back = float(fresh[over[-1] + 1 if len(over) and over[-1] + 1 < len(fresh) else 0, 0] - resumed)
    if len(over) and over[-1] + 1 >= len(fresh):
        back = float("inf")
    return Figure(
        "after a stall of 1 s: back to ≤ 100 ms production-to-display",
        "within 1 s",
        f"{back:.0f} ms",
        back <= 1000,
        f"usual {usual:.0f} ms, worst after it {late.max():.0f} ms",
    )
