"""Figures of a conversation with a stand-in model: question to first sound, and what interruptions leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from bench.figures import Figure, spread
from bench.measure_wire import mouth_at_rest, strange, strangeness
from bench.serving import ROOT, Server, Session, free_port, server
from bench.wire import VOICED, Wire, connected

QUESTIONS = 16
INTERRUPTIONS = 50
IN_A_ROW = 20
FIRST_TOKEN, TOKENS_A_SECOND = 0.1, 40.0
OPENINGS = [  # what the model begins with; the last two are longer than the tutor's prompt asks for
    "Good question! ",
    "Plants make their own food. ",
    "They live on light, air and water. ",
    "All green plants make their own food out of light. ",
]
REST = (
    "They take in water through their roots, and carbon dioxide through small openings in their leaves. Sunlight gives "
    "them the energy to put both together. What comes out is sugar, which the plant uses to grow, and oxygen, which "
    "you and I breathe. Most of this happens in the leaves, because they hold a green pigment called chlorophyll. "
)
STALE_AFTER = 0.15  # seconds after an interruption, the limit of the figure "interrupt → silence on wire"
CLOSED_AFTER = 0.5  # the mouth has 6 frames to close (pipeline.playout.FADE_OUT), then the picture is the clip's own
MARK = " [cut off here: the student interrupted]"


def figures(avatars: Path, avatar_id: str) -> list[Figure]:
    """On a server of its own, whose language model is the tests' stand-in."""
    with stand_in() as model, server(avatars, **model.settings) as running:
        return asyncio.run(_measure(running, avatars, avatar_id, model))


@dataclass(frozen=True, slots=True)
class StandIn:
    """The stand-in model's server."""

    port: int

    @property
    def settings(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.port}/v1"
        return {"LECTERN_MODEL__BASE_URL": address, "LECTERN_MODEL__NAME": "stand-in", "LECTERN_MODEL__API_KEY": "none"}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    @property
    def asked(self) -> list[dict[str, Any]]:
        return list(self.call("GET", "/requests")["asked"])

    @property
    def open(self) -> int:
        return int(self.call("GET", "/requests")["open"])


@contextlib.contextmanager
def stand_in() -> Iterator[StandIn]:
    port = free_port()
    command = [sys.executable, "-m", "tests.conversation.model_server", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        model = StandIn(port)
        for _ in range(200):
            with contextlib.suppress(OSError):
                model.call("PUT", "/switches", {"first_token": FIRST_TOKEN, "speed": TOKENS_A_SECOND})
                break
            time.sleep(0.05)
        else:
            raise RuntimeError("the stand-in model's server did not start")
        yield model
    finally:
        process.terminate()
        process.wait(10)


@dataclass
class Talk:
    """A student's socket: `messages` with the time at which each arrived."""

    socket: aiohttp.ClientWebSocketResponse
    messages: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        async for message in self.socket:
            self.messages.append((time.monotonic(), json.loads(message.data)))
            self.came.set()

    async def send(self, kind: str, **more: Any) -> int:
        """Send; gives the number of messages that had arrived before."""
        before = len(self.messages)
        await self.socket.send_json({"type": kind, **more})
        return before

    async def wait(self, kind: str, since: int, limit: float = 10) -> dict[str, Any]:
        async with asyncio.timeout(limit):
            while True:
                for _, message in self.messages[since:]:
                    if message["type"] == kind:
                        return message
                self.came.clear()
                await self.came.wait()

    def of(self, kind: str, since: int) -> list[dict[str, Any]]:
        return [message for _, message in self.messages[since:] if message["type"] == kind]


@contextlib.asynccontextmanager
async def talking(session: Session) -> AsyncIterator[Talk]:
    async with aiohttp.ClientSession() as http, http.ws_connect(session.socket) as socket:
        talk = Talk(socket)
        task = asyncio.create_task(talk.listen())
        try:
            await talk.send("init")
            await talk.wait("processing_status", 0)
            yield talk
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _measure(running: Server, avatars: Path, avatar_id: str, model: StandIn) -> list[Figure]:
    crop, rest = mouth_at_rest(avatars, avatar_id)
    session = running.session(avatar_id)
    async with connected(session) as wire, talking(session) as talk:
        await asyncio.sleep(2)
        rows = [
            await _first_sound(talk, wire, model),
            await _words_heard(talk, wire, model),
        ]
    async with connected(session, decode=True) as wire, talking(session) as talk:
        wire.crop = crop
        await asyncio.sleep(2)
        rows.append(await _in_a_row(running, talk, wire, rest, model, session))
    running.call("DELETE", f"/v1/sessions/{session.id}")
    return rows


async def _first_sound(talk: Talk, wire: Wire, model: StandIn) -> Figure:
    took = []
    for run in range(QUESTIONS):
        model.call("PUT", "/switches", {"reply": OPENINGS[run % len(OPENINGS)] + REST})
        start = time.monotonic()
        await talk.send("text", text=f"How do plants live? {run}")
        first = await wire.voiced_after(start, 5)
        if first is None:
            raise RuntimeError("nothing was heard within 5 s after the question")
        took.append((first.at - start) * 1000)
        await interrupt(talk)
        await asyncio.sleep(0.4 + 0.037 * run)
    median = statistics.median(took)
    each = [f"{statistics.median(took[n :: len(OPENINGS)]):.0f}" for n in range(len(OPENINGS))]
    lengths = ", ".join(str(len(text.split())) for text in OPENINGS)
    note = f"{spread(took)}; by words in the first sentence ({lengths}): {', '.join(each)}"
    return Figure("typed question → first sound", "≤ 450 ms", f"{median:.0f} ms", median <= 450, note)


async def _words_heard(talk: Talk, wire: Wire, model: StandIn) -> Figure:
    """History is read from where it counts: in the model's next request. What was sent is told by the captions and the
    position of `speech_ended`, and the position is held against the sound on the wire.
    """
    dice = random.Random(4)
    equal, words, off = 0, 0, []
    for _ in range(INTERRUPTIONS):
        start = time.monotonic()
        since = await talk.send("text", text="How do plants live?")
        await talk.wait("speech_started", since)
        await asyncio.sleep(dice.uniform(0.0, 2.5))
        await interrupt(talk)
        ended = await talk.wait("speech_ended", since)
        captions = talk.of("caption", since)
        sent = [c["word"] for c in captions if (c["start"] + c["end"]) / 2 <= ended["position"] + 1e-6]
        await asyncio.sleep(0.25)
        voiced = [sound.at for sound in wire.sounds if sound.at > start and sound.loudness > VOICED]
        if voiced:
            off.append(abs(voiced[-1] - voiced[0] + 0.02 - ended["position"]) * 1000)
        since = await talk.send("text", text="Yes?")
        await talk.wait("text_stream", since)
        told = model.asked[-1]["messages"][-2]
        await interrupt(talk)
        kept = told["content"].removesuffix(MARK.strip()).split()
        equal += told["role"] == "assistant" and told["content"].endswith(MARK.strip()) and kept == sent
        words += len(sent)
    note = f"{words} words; voiced sound on the wire within {max(off):.0f} ms of the position (pauses included)"
    value = f"{equal} of {INTERRUPTIONS}"
    return Figure("words in history = words sent", "50 of 50 interruptions", value, equal == INTERRUPTIONS, note)


async def _in_a_row(
    running: Server, talk: Talk, wire: Wire, rest: np.ndarray, model: StandIn, session: Session
) -> Figure:
    """Half of them as fast as they are accepted, the others as soon as there is sound to be cut off."""
    process = running.processes()[0]
    before = process.num_threads(), process.num_fds()
    idle_level = max(strangeness(picture, rest) for picture in wire.pictures[-10:])
    first = len(talk.messages)
    for run in range(IN_A_ROW):
        since = await talk.send("text", text=f"Question {run}?")
        if run % 2:
            await talk.wait("caption", since)
        await interrupt(talk)
    last = time.monotonic()
    await asyncio.sleep(1.5)
    stale = sum(sound.at > last + STALE_AFTER and sound.loudness > VOICED for sound in wire.sounds)
    late = [picture for picture in wire.pictures if picture.at > last + CLOSED_AFTER]
    if not late or wire.sounds[-1].at < last + STALE_AFTER:
        raise RuntimeError("nothing more arrived after the last interruption")
    mouths = sum(strange(strangeness(picture, rest), idle_level) for picture in late)
    generations = {message["generation"] for message in talk.of("interrupted", first)}
    stats = running.call("GET", f"/v1/sessions/{session.id}/stats")["live"]
    after = process.num_threads(), process.num_fds()
    left = {"utterances": stats["utterances"], "requests": model.open}
    leak = any(left.values()) or after[0] > before[0] or after[1] > before[1] + 2
    clean = stale == mouths == 0 and not leak and len(generations) == IN_A_ROW
    note = f"threads {before[0]}→{after[0]}, handles {before[1]}→{after[1]}, left over: {left}"
    value = f"{stale} stale packets, {mouths} frames"
    return Figure(f"{IN_A_ROW} interruptions in a row", "no stale sound or frame, no leak", value, clean, note)


async def interrupt(talk: Talk) -> None:
    since = await talk.send("interrupt")
    await talk.wait("interrupted", since)
