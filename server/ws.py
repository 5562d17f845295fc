"""The session's WebSocket: a student's page asks, speaks, interrupts and connects its picture through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from server import speech
from server.keys import PEERS, SESSIONS
from server.messages import (
    Audio,
    Incoming,
    Init,
    Interrupt,
    MessageError,
    Say,
    Stay,
    Text,
    WebRtcIceCandidate,
    WebRtcOffer,
    error_message,
    outgoing,
    parse,
)
from server.outbox import Outbox, shut
from server.problems import ProblemError, as_problem
from server.rtc.joining import join, refusal
from server.rtc.offer import BadOffer
from server.rtc.registry import Entry
from server.security import address_of, session_of
from server.sessions import Session

log = structlog.get_logger(__name__)

MOST_SOCKETS = 16  # of one session
MESSAGE_LIMIT = 16 << 20  # bytes; a larger message closes the connection (1009)
HEARTBEAT_SECONDS = 4.0  # a ping; without its pong after half of that again, the client counts as gone
STOP_SECONDS = 3.0
LAST_SECONDS = 0.8  # for the last events of a session to be sent


def add_routes(app: web.Application) -> None:
    app.router.add_get("/ws/{session_id}", connect)


async def connect(request: web.Request) -> web.StreamResponse:
    """Refusals (404, 401, 429, 503) come before the upgrade, as problem+json."""
    session = session_of(request, token_only=True)
    wait = request.query.get("wait", "").lower() in ("1", "true")
    with _place(session):
        await request.app[SESSIONS].come(session, wait=wait)
        return await _Conversation(request, session).run()


@contextlib.contextmanager
def _place(session: Session) -> Iterator[None]:
    """Every event goes to every socket: with very many of one session all others' sound would wait for them."""
    if session.sockets >= MOST_SOCKETS:
        raise ProblemError(
            429,
            "too_many_sockets",
            f"{MOST_SOCKETS} WebSockets of this session are open already. Close one of them first.",
            headers={"Retry-After": "10"},
        )
    session.sockets += 1
    try:
        yield
    finally:
        session.sockets -= 1


class _Conversation:
    """One connected client. Its messages are handled in order, one at a time."""

    def __init__(self, request: web.Request, session: Session) -> None:
        self._request = request
        self._app = request.app
        self._session = session
        self._sessions = request.app[SESSIONS]
        self._peers = request.app[PEERS]
        self._viewer: Entry | None = None
        self._socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_SECONDS, max_msg_size=MESSAGE_LIMIT, compress=False, timeout=1.0
        )

    async def run(self) -> web.StreamResponse:
        await self._socket.prepare(self._request)
        transport = self._request.transport
        outbox = Outbox(self._socket, transport)
        self._put = outbox.put

        async def end() -> None:
            await outbox.drain(LAST_SECONDS)
            await shut(self._socket, transport, WSCloseCode.GOING_AWAY, "the session has ended")

        log.info("websocket_open", session=self._session.id)
        try:
            with (
                self._sessions.present(self._session, end),
                self._session.listening(lambda event: outbox.put(outgoing(event))),
            ):
                news = self._sessions.news(self._session)
                if news is not None:
                    self._put(outgoing(news))
                async for message in self._socket:
                    if message.type is WSMsgType.TEXT:
                        await self._handle(message.data)
                    elif message.type is WSMsgType.BINARY:
                        self._put(error_message("invalid_message", "Messages are JSON text, not binary."))
        finally:
            try:
                await self._drop_viewer()
                await outbox.close()
                await shut(self._socket, transport, WSCloseCode.OK, "")
            finally:
                code = self._socket.close_code
                log.info("websocket_closed", session=self._session.id, close_code=None if code is None else int(code))
        return self._socket

    async def _handle(self, data: str) -> None:
        request_id: str | None = None
        try:
            message = parse(data)
            request_id = message.request_id
            await self._act(message)
        except MessageError as error:
            self._put(error_message(error.code, str(error), error.request_id))
        except Exception as error:
            problem = as_problem(error)
            if problem is None:
                log.exception("websocket_message_failed", session=self._session.id)
                problem = ProblemError(500, "internal_error", "The server met an error it did not expect.")
            self._put(error_message(problem.code, problem.detail, request_id, status=problem.status, **problem.extra))

    async def _act(self, message: Incoming) -> None:
        match message:
            case Init():
                if message.voice is not None:
                    speech.check_voice(self._app, message.voice)
                    self._session.voice = message.voice
                self._answer(
                    message,
                    "processing_status",
                    status=talk.status if (talk := self._session.conversation) is not None else "idle",
                    mode=speech.mode(self._app),
                    session_id=self._session.id,
                    avatar_id=self._session.avatar_id,
                    voice=self._session.voice,
                    recording=self._session.recording_id is not None,
                    outputs=len(self._session.outputs),
                )
            case Text():
                utterance = await speech.ask(self._app, self._session, message.text)
                self._answer(message, "processing_status", status="thinking", utterance_id=utterance)
            case Say():
                utterance = await speech.say(self._app, self._session, message.text, message.voice)
                self._answer(message, "processing_status", status="thinking", utterance_id=utterance)
            case Audio(speaker="student"):
                utterance = await speech.hear_base64(self._app, self._session, message.data)
                self._answer(message, "processing_status", status="waiting", utterance_id=utterance)
            case Audio():
                utterance = await speech.play_base64(self._app, self._session, message.data, message.text)
                self._answer(message, "processing_status", status="thinking", utterance_id=utterance)
            case Interrupt():
                speech.interrupt(self._session)
            case Stay():
                self._sessions.touch(self._session)
            case WebRtcOffer():
                await self._watch(message)
            case WebRtcIceCandidate():
                await self._candidate(message)

    async def _watch(self, message: WebRtcOffer) -> None:
        await self._drop_viewer()
        entry, answer = await join(self._sessions, self._peers, self._session, message.sdp, address_of(self._request))
        self._viewer = entry
        self._answer(message, "webrtc_answer", sdp=answer, viewer_id=entry.id)

    async def _candidate(self, message: WebRtcIceCandidate) -> None:
        if self._viewer is None:
            raise ProblemError(409, "no_offer", "Send a webrtc_offer first.")
        if message.candidate:
            try:
                await self._viewer.peer.add_candidate(message.candidate)
            except BadOffer as error:
                raise refusal(error) from error

    async def _drop_viewer(self) -> None:
        viewer, self._viewer = self._viewer, None
        if viewer is not None:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._peers.close_peer(self._session.id, viewer.id)
            except TimeoutError:
                log.warning("viewer_close_late", session=self._session.id)

    def _answer(self, message: Incoming, kind: str, **fields: Any) -> None:
        self._put({"type": kind, **fields, "request_id": message.request_id})
