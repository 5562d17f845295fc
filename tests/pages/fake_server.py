"""A small honest stand-in for the server, for tests of the pages: REST, events, WebSocket, WHEP with a test pattern.

It keeps the contracts (paths, fields, codes, headers) and can be told to fail. It knows no voices and no faces: a
"tutor" is a drawn pattern, its "voice" is a tone that sounds while words are captioned.
"""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from aiohttp import WSMsgType, web
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcconfiguration import RTCConfiguration

from tests.pages.waiting import until

STATIC = Path(__file__).resolve().parents[2] / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
WIDTH, HEIGHT, FPS = 480, 270, 25


def draw(phase: float, mouth: float) -> np.ndarray:
    """A BGR picture of a simple face; phase moves it a little, mouth (0..1) opens its mouth."""
    image = np.full((HEIGHT, WIDTH, 3), (120, 150, 140), np.uint8)
    x = WIDTH // 2 + round(6 * np.sin(phase))
    cv2.ellipse(image, (x, HEIGHT + 30), (130, 110), 0, 0, 360, (90, 60, 40), -1)
    cv2.ellipse(image, (x, 120), (62, 80), 0, 0, 360, (170, 200, 235), -1)
    for side in (-24, 24):
        cv2.circle(image, (x + side, 105), 6, (40, 40, 40), -1)
    cv2.ellipse(image, (x, 160), (20, 2 + round(10 * mouth)), 0, 0, 360, (60, 50, 150), -1)
    return image


def jpeg(image: np.ndarray) -> bytes:
    done, data = cv2.imencode(".jpg", image)
    assert done
    return bytes(data)


@dataclass
class Microphone:
    """What came in of the student's sound. offered: audio directions of the offers, in order. loudest: 0..32767."""

    offered: list[str] = field(default_factory=list)
    frames: int = 0
    loudest: int = 0

    async def listen(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                self.frames += 1
                self.loudest = max(self.loudest, int(np.abs(frame.to_ndarray().astype(np.int32)).max()))


@dataclass
class FakeSession:
    id: str
    token: str
    avatar_id: str
    tutor_name: str | None = None
    good: dict[str, bool] = field(default_factory=dict)  # of each token, whether it has not expired
    sockets: set[web.WebSocketResponse] = field(default_factory=set)
    peers: dict[str, RTCPeerConnection] = field(default_factory=dict)
    speech: asyncio.Task[None] | None = None
    ears: set[asyncio.Task[None]] = field(default_factory=set)
    speaking: bool = False
    heard: list[dict[str, Any]] = field(default_factory=list)
    microphone: Microphone = field(default_factory=lambda: Microphone())


class Picture(MediaStreamTrack):
    kind = "video"

    def __init__(self, session: FakeSession, draw_frame: Callable[[float, float], np.ndarray]) -> None:
        super().__init__()
        self._session = session
        self._draw = draw_frame
        self._begin: float | None = None
        self._number = 0

    async def recv(self) -> av.VideoFrame:
        now = time.monotonic()
        if self._begin is None:
            self._begin = now
        self._number = max(self._number + 1, round((now - self._begin) * FPS))
        await asyncio.sleep(max(0.0, self._begin + self._number / FPS - now))
        mouth = abs(np.sin(self._number / 2)) if self._session.speaking else 0.0
        frame = av.VideoFrame.from_ndarray(self._draw(self._number / 12, mouth), "bgr24")
        frame.pts, frame.time_base = self._number * 3600, fractions.Fraction(1, 90000)
        return frame


class Sound(MediaStreamTrack):
    kind = "audio"

    def __init__(self, session: FakeSession) -> None:
        super().__init__()
        self._session = session
        self._begin: float | None = None
        self._at = 0

    async def recv(self) -> av.AudioFrame:
        now = time.monotonic()
        if self._begin is None:
            self._begin = now
        await asyncio.sleep(max(0.0, self._begin + self._at / 48000 - now))
        samples = np.arange(self._at, self._at + 960)
        tone = 6000 * np.sin(samples * 2 * np.pi * 220 / 48000) if self._session.speaking else 0 * samples
        frame = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None, :], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, self._at, fractions.Fraction(1, 48000)
        self._at += 960
        return frame


def refuse(status: int, code: str, detail: str, **headers: str) -> web.Response:
    body = {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


class FakeServer:
    """Start with `async with`; `url` is where it listens. The public fields are what a test sets and reads."""

    def __init__(self, avatars: tuple[str, ...] = ("ms-chen",)) -> None:
        self.avatars: dict[str, dict[str, Any]] = {name: self.record(name, "ready", 1.0, "done") for name in avatars}
        self.sessions: dict[str, FakeSession] = {}
        self.created: list[str] = []
        self.ended: list[str] = []
        self.viewers_left: list[str] = []
        self.patches: list[str] = []
        self.uploads: list[dict[str, Any]] = []
        self.refuse_list: list[web.Response] = []
        self.refuse_session: list[Callable[[], web.Response]] = []
        self.seats = 1000  # one more session waits in line, if it may; `seat` lets it in
        self.waiting: list[FakeSession] = []
        self.estimate: int | None = None  # seconds, as the line tells them
        self.refuse_upload: list[Callable[[], web.Response]] = []
        self.build: list[dict[str, Any]] = []
        self.build_pause = 0.15
        self.build_gate: asyncio.Semaphore | None = None  # if set: a step of the build for each release
        self.told: list[dict[str, Any]] = []  # records that were sent as events
        self.word_pause = 0.04
        self.gate: asyncio.Semaphore | None = None  # if set: a word is spoken for each release
        self.upload_pause = 0.0
        self.cannot_say: list[str] = []  # what no voice can say of the next texts
        self.key = ""  # if set, managing needs it
        self.ice_servers: list[dict[str, Any]] = []
        self.blocked = ""  # if set, "ADDRESS PORT": what the answers name, and nothing comes from there
        self.token_seconds = 7200.0  # how long tokens are said to be good; they are until a test ends one
        self.renewed = 0
        self.renew_gate: asyncio.Event | None = None  # if set: fresh tokens are told after it only
        self.recording = False  # what the answer to the first message says
        self.listening: dict[str, Any] = {"available": True, "code": None, "reason": None}
        self.draw: Callable[[float, float], np.ndarray] = draw
        self.preview = jpeg(draw(0, 0))
        self.port = 0
        self._builds: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    @staticmethod
    def record(avatar_id: str, state: str, progress: float, stage: str, **more: Any) -> dict[str, Any]:
        return {"id": avatar_id, "tutor_id": "", "state": state, "progress": progress, "stage": stage, **more}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> FakeServer:
        await self.listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def listen(self) -> None:
        app = web.Application(client_max_size=64 << 20, middlewares=[self._guard])
        app.on_response_prepare.append(self._headers)
        app.add_routes(
            [
                web.get("/", lambda request: web.FileResponse(STATIC / "index.html")),
                web.get("/teacher", lambda request: web.FileResponse(STATIC / "teacher.html")),
                web.static("/static", STATIC),
                web.get("/v1/avatars", self._list),
                web.post("/v1/avatars/upload", self._upload),
                web.get("/v1/avatars/{id}", self._show),
                web.delete("/v1/avatars/{id}", self._delete),
                web.get("/v1/avatars/{id}/preview.jpg", self._preview),
                web.get("/v1/avatars/{id}/events", self._events),
                web.post("/v1/sessions", self._create),
                web.get("/v1/sessions/{id}", self._session),
                web.delete("/v1/sessions/{id}", self._end),
                web.post("/v1/sessions/{id}/token", self._renew),
                web.get("/v1/sessions/{id}/preview.jpg", self._preview_of_session),
                web.get("/ws/{id}", self._socket),
                web.post("/v1/sessions/{id}/whep", self._offer),
                web.patch("/v1/sessions/{id}/whep/{peer}", self._trickle),
                web.delete("/v1/sessions/{id}/whep/{peer}", self._leave),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """As if the machine had lost its power: everything that is open breaks."""
        await self._site.stop()
        if self._runner.server is not None:
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
        for session in list(self.sessions.values()):
            await self.drop(session)
        for task in self._builds:
            task.cancel()
        await asyncio.gather(*self._builds, return_exceptions=True)
        self._builds.clear()
        await self._runner.cleanup()

    async def drop(self, session: FakeSession, code: int = 1001) -> None:
        self.sessions.pop(session.id, None)
        if session in self.waiting:
            self.waiting.remove(session)
            await self.move_up()
        if session.speech:
            session.speech.cancel()
            await asyncio.gather(session.speech, return_exceptions=True)
        for socket in list(session.sockets):
            await socket.close(code=code)
        for peer in list(session.peers.values()):
            await peer.close()
        for task in session.ears:
            task.cancel()
        await asyncio.gather(*session.ears, return_exceptions=True)

    async def cut_sockets(self) -> None:
        """The WebSockets break without a goodbye; the sessions live on."""
        for session in self.sessions.values():
            for socket in list(session.sockets):
                if socket._req is not None and socket._req.transport is not None:
                    socket._req.transport.abort()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        managing = request.path.startswith("/v1/avatars") or request.path == "/v1/sessions"
        if self.key and managing and request.headers.get("Authorization") != f"Bearer {self.key}":
            return refuse(401, "unauthorized", "This needs the key.")
        response: web.StreamResponse = await handler(request)
        return response

    async def _headers(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"

    # -- avatars ----------------------------------------------------------------------------------------------------

    async def _list(self, request: web.Request) -> web.Response:
        if self.refuse_list:
            return self.refuse_list.pop(0)
        items = list(self.avatars.values())
        return web.json_response({"total": len(items), "avatars": list(self.avatars), "items": items})

    async def _show(self, request: web.Request) -> web.Response:
        record = self.avatars.get(request.match_info["id"])
        return web.json_response(record) if record else refuse(404, "not_found", "There is no such avatar.")

    async def _delete(self, request: web.Request) -> web.Response:
        if any(session.avatar_id == request.match_info["id"] for session in self.sessions.values()):
            return refuse(409, "in_use", "This avatar is in use.")
        if self.avatars.pop(request.match_info["id"], None) is None:
            return refuse(404, "not_found", "There is no such avatar.")
        return web.Response(status=204)

    async def _preview(self, request: web.Request) -> web.Response:
        return web.Response(body=self.preview, content_type="image/jpeg")

    async def _upload(self, request: web.Request) -> web.Response:
        form: dict[str, Any] = {}
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if part.name == "video_file":
                size = 0
                while chunk := await part.read_chunk(1 << 16):
                    size += len(chunk)
                    if self.upload_pause:
                        await asyncio.sleep(self.upload_pause)
                form.update(bytes=size, file_name=part.filename)
            else:
                form[str(part.name)] = await part.text()
        if self.refuse_upload:
            return self.refuse_upload.pop(0)()
        self.uploads.append(form)
        name = form["avatar_id"]
        self.avatars[name] = self.record(name, "preparing", 0.0, "queued") | {"tutor_id": form.get("tutor_id", "")}
        task = asyncio.create_task(self._prepare(name))
        self._builds.add(task)
        task.add_done_callback(self._builds.discard)
        return web.json_response({"status": "success", "message": "accepted", "avatar_id": name}, status=201)

    async def _prepare(self, name: str) -> None:
        for step in self.build or [
            {"stage": "checking", "progress": 0.1},
            {"stage": "finding_face", "progress": 0.5},
            {"stage": "preparing_engine", "progress": 0.8},
            {"stage": "done", "progress": 1.0, "state": "ready", "quality": {"ok": True, "findings": []}},
        ]:
            await asyncio.sleep(self.build_pause)
            if self.build_gate is not None:
                await self.build_gate.acquire()
            async with self._changed:
                self.avatars[name] = {**self.avatars[name], **step}
                self._changed.notify_all()

    async def _events(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):
            while (record := self.avatars.get(name)) is not None:
                await response.write(f"data: {json.dumps(record)}\n\n".encode())
                self.told.append(record)
                if record["state"] != "preparing":
                    break
                async with self._changed:
                    await asyncio.wait_for(self._changed.wait(), 30)
        return response

    # -- sessions ---------------------------------------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        if self.refuse_session:
            return self.refuse_session.pop(0)()
        body = await request.json()
        if body["avatar_id"] not in self.avatars:
            return refuse(404, "not_found", "There is no avatar with this id.")
        session = self.new_session(body["avatar_id"])
        self.created.append(session.id)
        if len(self.sessions) > self.seats:
            if not body.get("wait"):
                del self.sessions[session.id]
                return refuse(503, "at_capacity", "Full.", **{"Retry-After": "2"})
            self.waiting.append(session)
        reply = {
            **self._grant(session, session.token),
            **self.state(session),
            "whep_url": f"/v1/sessions/{session.id}/whep",
            "ice_servers": self.ice_servers,
            "listening": self.listening,
        }
        return web.json_response(reply, status=202 if session in self.waiting else 201)

    def state(self, session: FakeSession) -> dict[str, Any]:
        if session not in self.waiting:
            return {"status": "ready"}
        return {"status": "waiting", **self.place(session)}

    def place(self, session: FakeSession) -> dict[str, Any]:
        return {"position": self.waiting.index(session) + 1, "estimated_seconds": self.estimate}

    async def seat(self, session: FakeSession) -> None:
        """It is its turn, wherever it was in the line; the others move up."""
        self.waiting.remove(session)
        await self._tell(session, type="session_ready")
        await self.move_up()

    async def move_up(self) -> None:
        for session in self.waiting:
            await self._tell(session, type="queue_position", **self.place(session))

    def new_session(self, avatar_id: str = "ms-chen") -> FakeSession:
        """As a school's server makes one."""
        session = FakeSession(secrets.token_hex(8), secrets.token_hex(8), avatar_id)
        session.good[session.token] = True
        self.sessions[session.id] = session
        return session

    def _grant(self, session: FakeSession, token: str) -> dict[str, Any]:
        address = f"/ws/{session.id}?token={token}"
        return {
            "session_id": session.id,
            "engine_token": token,
            "engine_url": address,
            "token_expires_in": self.token_seconds,
        }

    async def _renew(self, request: web.Request) -> web.Response:
        session = self._found(request)
        if isinstance(session, web.Response):
            return session
        token = secrets.token_hex(8)
        session.good[token] = True
        self.renewed += 1
        if self.renew_gate:
            await self.renew_gate.wait()
        return web.json_response(self._grant(session, token))

    async def _preview_of_session(self, request: web.Request) -> web.Response:
        session = self._found(request)
        return session if isinstance(session, web.Response) else await self._preview(request)

    def _found(self, request: web.Request) -> FakeSession | web.Response:
        session = self.sessions.get(request.match_info["id"])
        if session is None:
            return refuse(404, "session_not_found", "There is no such session.")
        token = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.query.get("token")
        if token not in session.good:
            return refuse(401, "wrong_token", "Wrong token.")
        return session if session.good[token] else refuse(401, "token_expired", "Too old.")

    async def _session(self, request: web.Request) -> web.Response:
        session = self._found(request)
        if isinstance(session, web.Response):
            return session
        shown = {"session_id": session.id, "avatar_id": session.avatar_id, "tutor_id": session.avatar_id}
        about = {"tutor_name": session.tutor_name, "ice_servers": self.ice_servers, "listening": self.listening}
        return web.json_response({**shown, **about, **self.state(session)})

    async def _end(self, request: web.Request) -> web.Response:
        session = self._found(request)
        if isinstance(session, web.Response):
            return session
        self.ended.append(session.id)
        await self.drop(session)
        return web.Response(status=204)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        session = self._found(request)
        if isinstance(session, web.Response):
            return session
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        session.sockets.add(socket)
        if session in self.waiting:
            await socket.send_json({"type": "queue_position", **self.place(session)})
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._take(session, message.json())
        finally:
            session.sockets.discard(socket)
        return socket

    async def tell(self, session: FakeSession, **message: Any) -> None:
        """Say something that a page shall hear: waits until one is connected."""
        await until(lambda: session.sockets)
        await self._tell(session, **message)

    async def _tell(self, session: FakeSession, **message: Any) -> None:
        for socket in list(session.sockets):
            with contextlib.suppress(ConnectionResetError):
                await socket.send_json(message)

    async def _take(self, session: FakeSession, message: dict[str, Any]) -> None:
        session.heard.append(message)
        if message["type"] == "init":
            answer = {"status": "idle", "mode": "demo", "recording": self.recording}
            answer["request_id"] = message.get("request_id")
            await self._tell(session, type="processing_status", **answer)
        if message["type"] in ("text", "say"):
            before, name = session.speech, secrets.token_hex(4)
            answer = {"status": "thinking", "utterance_id": name, "request_id": message.get("request_id")}
            await self._tell(session, type="processing_status", **answer)
            session.speech = asyncio.create_task(self._speak(session, message["text"], name, before))
        elif message["type"] == "interrupt" and session.speech:
            session.speech.cancel()

    async def _speak(self, session: FakeSession, text: str, name: str, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        said, reason = [], "finished"
        await self._tell(session, type="processing_status", status="thinking")
        for left in self.cannot_say:
            problem = {"code": "cannot_say", "message": f"No voice here can say this: {left}"}
            await self._tell(session, type="error", **problem, utterance_id=name, details={"text": left})
        await self._tell(session, type="speech_started", utterance_id=name, generation=0, text=text)
        await self._tell(session, type="processing_status", status="speaking")
        session.speaking = True
        try:
            for index, word in enumerate(text.split()):
                start = index * self.word_pause
                times = {"start": start, "end": start + self.word_pause}
                if self.gate is not None:
                    await self.gate.acquire()
                await self._tell(session, type="caption", utterance_id=name, index=index, word=word, **times)
                said.append(word)
                await asyncio.sleep(self.word_pause)
        except asyncio.CancelledError:
            reason = "interrupted"
        session.speaking = False
        if reason == "interrupted":
            await self._tell(session, type="interrupted", generation=1, utterance_ids=[name])
        ending = {"reason": reason, "position": 0.0, "heard": " ".join(said)}
        await self._tell(session, type="speech_ended", utterance_id=name, generation=0, **ending)
        await self._tell(session, type="processing_status", status="idle")

    async def _offer(self, request: web.Request) -> web.Response:
        session = self._found(request)
        if isinstance(session, web.Response):
            return session
        if session in self.waiting:
            return refuse(503, "waiting", "It is not its turn.", **{"Retry-After": "10"})
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        name = secrets.token_hex(4)
        session.peers[name] = peer
        peer.addTrack(Picture(session, self.draw))
        peer.addTrack(Sound(session))
        offer = await request.text()
        session.microphone.offered += [
            re.findall(r"a=(sendrecv|recvonly|sendonly|inactive)", offer.split("m=audio")[1])[0]
        ]

        @peer.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            if track.kind == "audio" and self.listening["available"]:
                task = asyncio.create_task(session.microphone.listen(track))
                session.ears.add(task)
                task.add_done_callback(session.ears.discard)

        await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        if not self.listening["available"]:
            for transceiver in peer.getTransceivers():
                transceiver.direction = "sendonly"
        await peer.setLocalDescription(await peer.createAnswer())
        headers = {"Location": f"{request.path}/{name}", "ETag": f'"{name}"'}
        answer = peer.localDescription.sdp
        if self.blocked:
            answer = re.sub(r"(a=candidate:\S+ 1 udp \d+) \S+ \d+", rf"\1 {self.blocked}", answer)
            answer = re.sub(r"a=ice-pwd:\S+", f"a=ice-pwd:{'x' * 22}", answer)
        return web.Response(status=201, text=answer, content_type="application/sdp", headers=headers)

    async def _trickle(self, request: web.Request) -> web.Response:
        assert request.headers["If-Match"] == f'"{request.match_info["peer"]}"'
        self.patches.append(await request.text())
        return web.Response(status=204)

    async def _leave(self, request: web.Request) -> web.Response:
        session = self._found(request)
        if isinstance(session, web.Response):
            return session
        peer = session.peers.pop(request.match_info["peer"], None)
        if peer is None:
            return refuse(404, "viewer_not_found", "There is no such connection.")
        self.viewers_left.append(request.match_info["peer"])
        await peer.close()
        return web.Response(status=200)
