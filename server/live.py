"""The live part of a session: its avatar's face opened, picture and sound started, and all of it given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from pipeline.conversation import Conversation
from pipeline.history import History
from pipeline.language_model import LanguageModel
from pipeline.moments import Mark, unmarked
from pipeline.session import LiveSession
from pipeline.speaker import Speaker
from pipeline.timings import Timings
from server.faces import Faces
from server.listening import Listening
from server.log_context import about
from server.sessions import Session
from server.settings import Settings

log = structlog.get_logger(__name__)

LiveFactory = Callable[..., LiveSession]
"""Makes a LiveSession of its constructor's arguments; tests give one that is not."""

START_SECONDS = 30.0
CLOSE_SECONDS = 5.0


class LiveParts:
    """Opens and closes live sessions for the registry (server.sessions)."""

    def __init__(
        self,
        settings: Settings,
        faces: Faces,
        speaker: Speaker,
        model: LanguageModel,
        listening: Listening,
        factory: LiveFactory = LiveSession,
        *,
        timings: Timings | None = None,
        mark: Callable[[Session], Mark] = lambda session: unmarked,
    ) -> None:
        """timings: where all sessions add how long things take. mark: gives what takes the moments of a session."""
        self._video = settings.video.encoder()
        self._faces = faces
        self._speaker = speaker
        self._model = model
        self._listening = listening
        self._history_tokens = settings.model.history_tokens
        self._factory = factory
        self._timings = timings or Timings()
        self._mark = mark

    async def open(self, session: Session) -> LiveSession:
        """Raises AvatarError when the avatar has gone or is not ready."""
        with about(session.id):
            return await self._open(session)

    async def _open(self, session: Session) -> LiveSession:
        opened = await self._faces.acquire(session.avatar_id)
        talk = self._conversation(session)
        try:
            live = self._factory(
                session.id,
                opened.avatar,
                opened.face,
                self._speaker,
                self._video,
                talk.take,
                timings=self._timings,
                mark=self._mark(session),
            )
            talk.attach(live)
            async with asyncio.timeout(START_SECONDS):
                await live.start()
        except BaseException:
            self._faces.release(session.avatar_id)
            raise
        session.conversation = talk
        session.hearing = self._listening.open(session, talk, live)
        return live

    def _conversation(self, session: Session) -> Conversation:
        if session.history is None:
            session.history = History(self._history_tokens)
        return Conversation(
            session.emit,
            self._model,
            session.persona,
            session.history,
            voice=lambda: session.voice,
            kb_id=session.kb_id,
            mark=self._mark(session),
        )

    async def close(self, session: Session, live: LiveSession) -> None:
        """Always gives the face back, also when closing goes wrong or takes too long."""
        with about(session.id):
            await self._close(session, live)

    async def _close(self, session: Session, live: LiveSession) -> None:
        talk, session.conversation = session.conversation, None
        hearing, session.hearing = session.hearing, None
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if hearing is not None:
                    await hearing.close()
                if talk is not None:
                    await talk.close()
                await live.close()
        except TimeoutError:
            log.error("live_session_close_late", session=session.id)
        finally:
            self._faces.release(session.avatar_id)
