"""Which voices there are: by name, by language, and which of them have failed just now."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from pipeline.voices.edge import NAME, EdgeVoice
from pipeline.voices.hibari import HibariVoice
from pipeline.voices.hibari_model import installed_voices
from pipeline.voices.scripts import language_of
from pipeline.voices.voice import Voice, VoiceError

BUILT_IN = "hibari:heart"
"""The voice that is always there: no network, immediate. What "auto" means."""

LANGUAGES: Mapping[str, str] = {
    "zh": "edge:zh-CN-XiaoxiaoNeural",
    "ja": "edge:ja-JP-NanamiNeural",
    "ko": "edge:ko-KR-SunHiNeural",
    "ru": "edge:ru-RU-SvetlanaNeural",
    "el": "edge:el-GR-AthinaNeural",
    "ar": "edge:ar-EG-SalmaNeural",
    "he": "edge:he-IL-HilaNeural",
    "hi": "edge:hi-IN-SwaraNeural",
    "bn": "edge:bn-IN-TanishaaNeural",
    "ta": "edge:ta-IN-PallaviNeural",
    "te": "edge:te-IN-ShrutiNeural",
    "th": "edge:th-TH-PremwadeeNeural",
}
"""The voice for text whose script the asked voice cannot read."""

LISTED: Sequence[str] = (
    "edge:en-US-AriaNeural",
    "edge:en-US-GuyNeural",
    "edge:en-GB-SoniaNeural",
    "edge:en-GB-RyanNeural",
    "edge:zh-CN-XiaoxiaoNeural",
    "edge:zh-CN-YunxiNeural",
    "edge:es-ES-ElviraNeural",
    "edge:fr-FR-DeniseNeural",
    "edge:de-DE-KatjaNeural",
)
"""Online voices that are offered by name; any other of the service can be asked for as well."""

_EDGE_VOICES = 32  # kept; they hold nothing, a new one costs nothing


class VoiceBook:
    """The voices of a process, made when they are first asked for and shared by all sessions.

    online: whether the edge voices may be used at all. languages, listed: see LANGUAGES and LISTED.
    cooldown: seconds for which a voice that failed is not asked again. clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        online: bool = True,
        languages: Mapping[str, str] = LANGUAGES,
        listed: Sequence[str] = LISTED,
        cooldown: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._online = online
        self._languages = dict(languages)
        self._listed = tuple(listed)
        self._cooldown = cooldown
        self._clock = clock
        self._kept: dict[str, Voice] = {}
        self._edge: OrderedDict[str, EdgeVoice] = OrderedDict()
        self._resting: dict[str, float] = {}  # voice or family -> when it may be asked again

    def add(self, voice: Voice) -> None:
        """Offer a voice of another make under its own name; it takes the place of one of that name."""
        self._kept[voice.name] = voice

    def names(self) -> list[str]:
        """What can be chosen, the built-in voice first."""
        online = self._listed if self._online else ()
        return list(dict.fromkeys([BUILT_IN, *(f"hibari:{name}" for name in installed_voices()), *online, *self._kept]))

    def resolve(self, name: str) -> str:
        """The full name: "auto" and "hibari" are the built-in voice, "en-US-AriaNeural" is "edge:en-US-AriaNeural"."""
        if name in ("", "auto", "hibari"):
            return BUILT_IN
        if ":" not in name and NAME.fullmatch(name):
            return f"edge:{name}"
        return name

    def get(self, name: str) -> Voice:
        """The voice of a name (see `resolve`). Raises VoiceError("unknown_voice")."""
        name = self.resolve(name)
        if name in self._kept:
            return self._kept[name]
        family, _, voice = name.partition(":")
        if family == "hibari" and voice in installed_voices():
            return self._kept.setdefault(name, HibariVoice(voice))
        if family == "edge" and self._online:
            return self._edge_voice(name, voice)
        raise VoiceError(
            "unknown_voice", f"There is no voice {name[:60]!r} here. Choose one of: {', '.join(self.names())}."
        )

    def built_in(self) -> Voice:
        """The voice that every other falls back to."""
        return self.get(BUILT_IN)

    def for_text(self, text: str) -> Voice | None:
        """The voice set for the language that the text's script tells, if any."""
        name = self._languages.get(language_of(text) or "")
        if name is None or (name.startswith("edge:") and not self._online):
            return None
        return self.get(name)

    def rest(self, voice: Voice, error: VoiceError) -> None:
        """A voice has failed: don't ask it (nor, when its service is unreachable, its family) for a while."""
        name = voice.name.partition(":")[0] if error.code == "voice_unreachable" else voice.name
        now = self._clock()
        # names are the students' to choose: those that have rested go
        self._resting = {other: until for other, until in self._resting.items() if until > now}
        self._resting[name] = now + self._cooldown

    def rests(self, voice: Voice) -> bool:
        """Whether a voice failed a moment ago."""
        return self.rest_left(voice.name) > 0

    def rest_left(self, name: str) -> float:
        """Seconds for which the voice of a full name is not asked, because it failed; 0: it would be."""
        now = self._clock()
        return max(self._resting.get(each, now) - now for each in (name, name.partition(":")[0]))

    async def warm_up(self) -> None:
        """Load the built-in voice, so that its first word is as fast as the others. Before serving."""
        voice = self.built_in()
        if isinstance(voice, HibariVoice):
            await voice.warm_up()

    async def close(self) -> None:
        """Close all voices."""
        for voice in [*self._kept.values(), *self._edge.values()]:
            await voice.close()
        self._kept.clear()
        self._edge.clear()

    def _edge_voice(self, name: str, voice: str) -> EdgeVoice:
        made = self._edge.get(name) or EdgeVoice(voice)
        self._edge[name] = made
        self._edge.move_to_end(name)
        while len(self._edge) > _EDGE_VOICES:
            self._edge.popitem(last=False)
        return made
