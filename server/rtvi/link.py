"""One RTVI client's data channel: its messages carried out, the session's events sent to it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import structlog
from aiohttp import web
from pydantic import ValidationError

from pipeline.events import Event
from server import speech
from server.keys import SESSIONS
from server.problems import ProblemError, as_problem
from server.rtc.data_channel import DataChannel, Refusal
from server.rtvi.messages import (
    PEER_LEFT,
    VERSION,
    AppendToContext,
    ClientMessage,
    ClientReady,
    DisconnectBot,
    Incoming,
    Message,
    MessageError,
    Nothing,
    SayData,
    SendText,
    bot_ready,
    compatible,
    encode,
    error,
    error_response,
    message,
    parse,
    server_response,
)
from server.rtvi.translator import Translator
from server.session import Session, recorded

log = structlog.get_logger(__name__)

RESTARTED = "restarted"
"""Why a connection is closed whose client makes another in its place: it must not hear that the tutor has left."""

_REFUSALS: dict[Refusal, str] = {
    "too_large": "A message was dropped: it is larger than 64 kB.",
    "too_many": "Messages are dropped: they come faster than they can be handled.",
    "not_text": "A message was dropped: messages are JSON text.",
}


class Link:
    """Talks in one data channel. version: the server's own. ready: the client has said so before, in a connection that
    this one takes the place of; else its first message has to be client-ready, and nothing is told before.
    """

    def __init__(self, app: web.Application, session: Session, version: str, *, ready: bool = False) -> None:
        self._app = app
        self._session = session
        self._version = version
        self._ready = ready
        self._channel: DataChannel | None = None
        self._translator = Translator(session.student_id)

    def open(self, channel: DataChannel) -> Link:
        """The channel is there; gives this, as Peer wants to have who talks."""
        self._channel = channel
        conversation = self._session.conversation
        if conversation is not None:
            self._translator = Translator(self._session.student_id, conversation.status)
        self._session.listeners.add(self._tell)
        log.info("rtvi_open", session=self._session.id)
        return self

    # -- as a ChannelSink ---------------------------------------------------------------------------------------

    async def received(self, text: str) -> None:
        request_id: str | None = None
        try:
            incoming = parse(text)
            if isinstance(incoming, Nothing):
                return
            request_id = incoming.id
            await self._act(incoming)
        except MessageError as failure:
            self._send(error_response(failure.request_id, str(failure), "invalid_message"))
        except Exception as failure:
            problem = as_problem(failure)
            if problem is None:
                log.exception("rtvi_message_failed", session=self._session.id)
                problem = ProblemError(500, "internal_error", "The server met an error it did not expect.")
            self._send(error_response(request_id, problem.detail, problem.code))

    def refused(self, why: Refusal) -> None:
        self._send(error(_REFUSALS[why], f"message_{why}"))

    def closed(self, reason: str) -> None:
        self._session.listeners.discard(self._tell)
        if reason != RESTARTED:
            self._send(PEER_LEFT)
        log.info("rtvi_closed", session=self._session.id)

    # -- inside -------------------------------------------------------------------------------------------------

    async def _act(self, incoming: Incoming) -> None:
        match incoming:
            case ClientReady():
                if not compatible(incoming.data.version):
                    text = f"This server speaks RTVI {VERSION}; some of its messages may not be understood."
                    self._send(error_response(incoming.id, text, "version"))
                self._ready = True
                for each in (bot_ready(incoming.id, self._version), *self._translator.now()):
                    self._send(each)
                for event in recorded(self._session):
                    self._tell(event)
            case SendText(data=data):
                if not data.options.audio_response:
                    raise MessageError(
                        "The tutor always speaks its answers: audio_response cannot be off.", incoming.id
                    )
                await self._ask(incoming.id, data.content, data.options.run_immediately)
            case AppendToContext(data=data):
                await self._ask(incoming.id, data.content, data.run_immediately)
            case ClientMessage():
                self._send(server_response(incoming.id, incoming.data.t, await self._command(incoming)))
            case DisconnectBot():
                if self._channel is not None:
                    self._channel.end("left")

    async def _ask(self, request_id: str, text: str, run_immediately: bool) -> None:
        if not run_immediately:
            raise MessageError("The tutor answers at once: run_immediately cannot be off.", request_id)
        await speech.ask(self._app, self._session, text)
        self._send(message("user-llm-text", {"text": text.strip()}))

    async def _command(self, incoming: ClientMessage) -> Any:
        match incoming.data.t:
            case "stay":
                self._app[SESSIONS].touch(self._session)
                return {}
            case "interrupt":
                return {"generation": speech.interrupt(self._session)}
            case "say":
                try:
                    say = SayData.model_validate(incoming.data.d)
                except ValidationError as failure:
                    raise MessageError("say takes a text, and perhaps a voice.", incoming.id) from failure
                return {"utterance_id": await speech.say(self._app, self._session, say.text, say.voice)}
        raise MessageError("A client-message is interrupt, say or stay.", incoming.id)

    def _tell(self, event: Event) -> None:
        now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        for each in self._translator.translate(event, now):
            if self._ready:
                self._send(each)

    def _send(self, value: Message) -> None:
        if self._channel is not None:
            self._channel.send(encode(value))
