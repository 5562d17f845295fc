"""Whether the tutor can hear the student, and what with: the recogniser and the threads that all sessions share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.hearing import Hearing
from pipeline.recognise import Recogniser, WhisperRecogniser, WhisperSettings
from pipeline.recognise_models import ModelMissing, find
from server.setting_groups import ListeningSettings

if TYPE_CHECKING:
    from pipeline.conversation import Conversation
    from pipeline.session import LiveSession
    from server.sessions import Session

THREADS = 2  # for the ears: 0.3 ms of work for each 20 ms of a microphone


Obstacle = Literal["off", "not_installed", "no_model"]


@dataclass(frozen=True, slots=True)
class Availability:
    """As the API shows it. code, and reason, a sentence for the student, say why not; None where it can."""

    available: bool
    code: Obstacle | None = None
    reason: str | None = None


REASONS: dict[Obstacle, str] = {
    "off": "Speech recognition is turned off on this server.",
    "not_installed": "Speech recognition is not installed on this server.",
    "no_model": "This server has no model for speech recognition yet.",
}


class Listening:
    """Gives each live session its hearing; where there is an obstacle in place of a recogniser, it gives none."""

    def __init__(self, recogniser: Recogniser | Obstacle) -> None:
        if isinstance(recogniser, str):
            self.availability = Availability(False, recogniser, REASONS[recogniser])
            self.recogniser: Recogniser | None = None
        else:
            self.availability = Availability(True)
            self.recogniser = recogniser
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ear")

    async def start(self) -> None:
        if self.recogniser is not None:
            await self.recogniser.warm_up()

    async def close(self) -> None:
        """The sessions have ended before."""
        if self.recogniser is not None:
            await self.recogniser.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def open(self, session: Session, talk: Conversation, live: LiveSession) -> Hearing | None:
        """For a session's live part; None: it hears nothing."""
        if self.recogniser is None:
            return None
        return Hearing(talk, self.recogniser, session.emit, self._pool, live.sent)


def listening(settings: ListeningSettings) -> Listening:
    """What the settings ask for, as far as it is installed."""
    found = recogniser_settings(settings)
    return Listening(WhisperRecogniser(found) if isinstance(found, WhisperSettings) else found)


def recogniser_settings(settings: ListeningSettings) -> WhisperSettings | Obstacle:
    """How the recogniser is to work, or why there is none."""
    from importlib.util import find_spec

    if not settings.enabled:
        return "off"
    if find_spec("faster_whisper") is None:
        return "not_installed"
    try:
        folder = find(settings.model, settings.models_dir)
    except ModelMissing:
        return "no_model"
    return WhisperSettings(folder, settings.language, settings.device, settings.threads)
