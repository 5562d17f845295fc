"""Making a session speak: text, a recording, or an interruption; the same for HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web

from pipeline.session import SessionClosed
from pipeline.voices.voice import VoiceError
from server.bodies import BodySource, PartSource, disk_full, next_part, read_form, stream_to_file, text_field
from server.keys import LISTENING, MODEL, RECORDINGS, SESSIONS, SETTINGS, VOICES
from server.problems import ProblemError
from server.recordings import Place, Recording
from server.session import Session, Typed

if TYPE_CHECKING:
    from pipeline.session import LiveSession

log = structlog.get_logger(__name__)

HEARD_SECONDS = 60.0  # longest clip of the student's
SOCKET_AUDIO_MB = 10  # largest clip in a WebSocket message; larger ones go over HTTP


def check_voice(app: web.Application, voice: str | None) -> None:
    """422 unknown_voice (as VoiceError); None is the default voice."""
    if voice is not None:
        app[VOICES].get(voice)


def usable_voice(app: web.Application, voice: str | None) -> str | None:
    """A tutor's own voice; None where it has none, or the one it has is not there any more."""
    try:
        check_voice(app, voice)
    except VoiceError as error:
        log.warning("tutor_voice_gone", voice=voice, why=str(error))
        return None
    return voice


async def ask(app: web.Application, session: Session, text: str) -> str:
    """Have the tutor answer; gives the answer's utterance id. What it says now is dropped. Problems as for `say`."""
    _check_text(app, text)
    await app[SESSIONS].wake(session)
    if session.conversation is None:
        raise SessionClosed("This session is not running.")
    utterance = session.conversation.ask(text.strip())
    session.note(Typed(text.strip()))
    return utterance


async def say(app: web.Application, session: Session, text: str, voice: str | None) -> str:
    """Queue a text; gives the utterance's id. 413 too_large, 422 invalid_request or unknown_voice, 429 queue_full."""
    _check_text(app, text)
    check_voice(app, voice)
    live = await app[SESSIONS].wake(session)
    return _queued(lambda: live.say(text, voice=voice or session.voice))


def interrupt(session: Session) -> int:
    """Stop what is said now and what waits; gives the new generation. A session that sleeps says nothing: 0."""
    return session.conversation.interrupt() if session.conversation is not None else 0


def mode(app: web.Application) -> str:
    """ "model", or "demo": no language model is set, the tutor repeats what is typed."""
    return "demo" if app[MODEL].demonstration else "model"


def stats(live: LiveSession) -> Any:
    """The live part in figures, as JSON takes them."""
    figures = live.stats()
    return dataclasses.asdict(figures)


def list_voices(app: web.Application) -> dict[str, Any]:
    """The voices that can be chosen and the default one."""
    book = app[VOICES]
    names = book.names()
    return {
        "default": book.resolve(app[SETTINGS].voice.default),
        "total": len(names),
        "voices": [{"name": name, "online": not name.startswith("hibari:")} for name in names],
    }


# -- recordings ---------------------------------------------------------------------------------------------------


async def play_request(request: web.Request, session: Session) -> str:
    """Speak the recording in a request: the raw body, or a form with a file and perhaps a `text` for the captions."""
    settings = request.app[SETTINGS].sessions
    limit = settings.max_audio_mb << 20
    announced = request.content_length
    most = limit if announced is None else min(announced, limit)
    with request.app[RECORDINGS].take(session.id, most, settings.max_audio_seconds) as place:
        text = ""
        if request.content_type == "multipart/form-data":
            text = await _read_form(request, place.clip, limit)
        else:
            await stream_to_file(BodySource(request), place.clip, limit, announced)
        return await play_clip(request.app, session, place, text)


async def play_base64(app: web.Application, session: Session, data: str, text: str) -> str:
    """Speak a recording that came in a message. 413 too_large, 400 bad_request when it is not base64."""
    with app[RECORDINGS].take(session.id, _decoded_size(data), app[SETTINGS].sessions.max_audio_seconds) as place:
        await _write_base64(data, place.clip)
        return await play_clip(app, session, place, text)


async def hear_base64(app: web.Application, session: Session, data: str) -> str:
    """What the student said, as a recording in a message; gives the id that its words will be told with. Problems as
    for `play_base64`, 503 listening_unavailable, 422 audio_too_long, 429 queue_full.
    """
    from pipeline.ear import to_ear
    from pipeline.hearing import TooManyClips
    from pipeline.speech_file import decode_speech

    availability = app[LISTENING].availability
    if not availability.available:
        raise ProblemError(503, "listening_unavailable", availability.reason or "The tutor cannot hear now.")
    place = app[RECORDINGS].take(session.id, _decoded_size(data), HEARD_SECONDS)
    try:
        await _write_base64(data, place.clip)
        _check_length(place.clip)
        chunks = decode_speech(place.clip, max_seconds=HEARD_SECONDS, folder=place.folder, on_decoded=place.decoded)
        sound = await asyncio.to_thread(to_ear, [chunk.pcm async for chunk in chunks])
    finally:
        place.free()
    await app[SESSIONS].wake(session)
    if session.hearing is None:
        raise SessionClosed("This session is not running.")
    try:
        return session.hearing.clip(sound)
    except TooManyClips as error:
        raise ProblemError(429, "queue_full", "Some recordings are waited for already.") from error


def _decoded_size(data: str) -> int:
    """Bytes of what is written in base64. 413 too_large."""
    size = len(data) * 3 // 4
    if size > SOCKET_AUDIO_MB << 20:
        raise ProblemError(413, "too_large", f"The clip is larger than {SOCKET_AUDIO_MB} MB; send it over HTTP.")
    return size


async def _write_base64(data: str, target: Path) -> None:
    try:
        clip = await asyncio.to_thread(base64.b64decode, data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProblemError(400, "bad_request", "The clip's data is not base64.") from error
    try:
        await asyncio.to_thread(target.write_bytes, clip)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise disk_full() from error
        raise


def _check_length(clip: Path) -> None:
    if not clip.stat().st_size:
        raise ProblemError(422, "audio_empty", "The recording is empty.")


async def _read_form(request: web.Request, target: Path, limit: int) -> str:
    reader = await read_form(request)
    text, got_file = "", False
    for _ in range(10):
        part = await next_part(reader)
        if part is None:
            break
        if part.filename or part.name in ("audio", "file", "audio_file"):
            if got_file:
                raise ProblemError(422, "invalid_request", "Send one recording at a time.")
            got_file = True
            await stream_to_file(PartSource(part), target, limit)
        else:
            value = await text_field(part)
            text = value if part.name == "text" else text
    if not got_file:
        raise ProblemError(422, "invalid_request", "The form holds no file: send the recording as one.")
    return text


async def play_clip(app: web.Application, session: Session, place: Place, text: str) -> str:
    """Speak the clip that lies in its place; gives the utterance's id. Problems as for `say`, and those of the clip."""
    from pipeline.speech_file import decode_speech

    _check_length(place.clip)
    live = await app[SESSIONS].wake(session)
    seconds = app[SETTINGS].sessions.max_audio_seconds
    recording = Recording(
        place, decode_speech(place.clip, max_seconds=seconds, folder=place.folder, on_decoded=place.decoded)
    )
    try:
        await recording.begin()
        return _queued(lambda: live.play(recording, text=text))
    except BaseException:
        await recording.aclose()
        raise


def _check_text(app: web.Application, text: str) -> None:
    limit = app[SETTINGS].sessions.max_text_chars
    if len(text) > limit:
        raise ProblemError(413, "too_large", f"The text is longer than {limit} characters; send it in parts.")
    if not text.strip():
        raise ProblemError(422, "invalid_request", "There is nothing to say: the text is empty.")


def _queued(order: Callable[[], str]) -> str:
    from pipeline.session import QueueFull

    try:
        return order()
    except QueueFull as error:
        raise ProblemError(
            429, "queue_full", "The tutor has enough to say already; wait, or interrupt.", headers={"Retry-After": "5"}
        ) from error
