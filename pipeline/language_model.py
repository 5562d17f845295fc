"""Language models that answer: any server that speaks OpenAI's chat completions, streamed; or one that repeats."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from pipeline.history import Message
from pipeline.thoughts import Thoughts

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 2.0
RETRIES = 1  # before the first token, within its time: a connection that was kept too long, a server that restarts


class ModelError(Exception):
    """No answer, or none to its end. str() is for the operator; pipeline.apologies has the student's sentence.

    `code` is stable: model_unreachable, model_timeout (no first token), model_stalled, model_cut (the answer broke
    off), model_busy, model_refused (key, model name or request), model_failed, model_empty.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LanguageModel(Protocol):
    """Answers a conversation. One serves any number of them at a time.

    demonstration: it is none, the tutor only shows that it can speak.
    """

    demonstration: bool

    def stream(
        self, messages: Sequence[Message], *, name: str | None = None, kb_id: str | None = None
    ) -> AsyncGenerator[str, None]:
        """The answer's text in pieces as they come. `aclose()`, or cancelling the task that reads, ends the request.

        name: another model than the usual one. kb_id: the student's knowledge base. Raises ModelError.
        """

    async def warm_up(self) -> None:
        """Load what the first answer needs."""

    async def close(self) -> None:
        """Close the connections."""


class Repeater:
    """No model is configured: the tutor says what it was told."""

    demonstration = True

    async def stream(
        self, messages: Sequence[Message], *, name: str | None = None, kb_id: str | None = None
    ) -> AsyncGenerator[str, None]:
        yield messages[-1].content

    async def warm_up(self) -> None:
        pass

    async def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """base_url: up to and with "/v1". first_token_seconds, stall_seconds: how long to wait for the first piece of text
    and between any two.
    """

    base_url: str
    name: str
    api_key: str = ""
    temperature: float = 0.7
    max_tokens: int = 600
    first_token_seconds: float = 8.0
    stall_seconds: float = 8.0


class OpenAIModel:
    """A model behind `<base_url>/chat/completions`."""

    demonstration = False

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._client: AsyncOpenAI | None = None

    async def warm_up(self) -> None:
        """Importing the client takes 0.3 s of CPU: before serving, and only where there is a model."""
        self._open()

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def stream(
        self, messages: Sequence[Message], *, name: str | None = None, kb_id: str | None = None
    ) -> AsyncGenerator[str, None]:
        settings = self._settings
        clock = asyncio.get_running_loop().time
        limit = clock() + settings.first_token_seconds
        response: Any = None
        said = ended = False
        thoughts, pairs = Thoughts(), Pairs()
        try:
            async with asyncio.timeout_at(limit):
                response = await self._request(messages, name or settings.name, kb_id)
            chunks = aiter(response)
            while True:
                async with asyncio.timeout_at(limit):
                    chunk = await anext(chunks, None)
                    await asyncio.sleep(0)  # chunks that came together are read without any other wait
                if chunk is None:
                    break
                for choice in chunk.choices[:1]:
                    ended = ended or choice.finish_reason is not None
                    if choice.delta is not None and (piece := thoughts.feed(pairs.feed(choice.delta.content or ""))):
                        said = True
                        yield piece
                        limit = clock() + settings.stall_seconds
            if piece := thoughts.feed(pairs.finish()) + thoughts.finish():
                said = True
                yield piece
            if not ended:
                raise ModelError("model_cut", "The model's stream ended without a finish_reason.")
            if not said:
                raise ModelError("model_empty", "The model's answer is empty.")
        except ModelError:
            raise
        except Exception as error:
            raise _as_model_error(error, said, settings) from error
        finally:
            if response is not None:
                await _close(response)

    async def _request(self, messages: Sequence[Message], name: str, kb_id: str | None) -> Any:
        extra: dict[str, Any] = {"metadata": {"kb_id": kb_id}} if kb_id else {}
        return await self._open().chat.completions.create(
            model=name,
            messages=[{"role": message.role, "content": message.content} for message in messages],  # type: ignore[misc]
            stream=True,
            temperature=self._settings.temperature,
            max_tokens=self._settings.max_tokens,
            extra_body=extra,
        )

    def _open(self) -> AsyncOpenAI:
        if self._client is None:
            from openai import AsyncOpenAI

            settings = self._settings
            longest = max(settings.first_token_seconds, settings.stall_seconds)
            self._client = AsyncOpenAI(
                base_url=settings.base_url,
                api_key=settings.api_key or "none",  # it must have one; servers without keys don't look
                timeout=longest + 1.0,
                max_retries=RETRIES,
            )
            # It takes these from the environment by itself; here only what the settings say counts.
            self._client.organization = self._client.project = None
        return self._client


class Pairs:
    """Joins characters that a server escaped as two halves ("\\ud83d\\ude00") and cut between them, as those do that
    count in UTF-16. A half without its other becomes U+FFFD: no message and no request could hold it.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-16-le")("replace")

    def feed(self, piece: str) -> str:
        """The next piece; what of it is whole."""
        return self._decoder.decode(piece.encode("utf-16-le", "surrogatepass"))

    def finish(self) -> str:
        """No more comes."""
        return self._decoder.decode(b"", final=True)


def _as_model_error(error: Exception, said: bool, settings: ModelSettings) -> ModelError:
    import openai

    where = f"{settings.base_url} ({settings.name})"
    detail = f"{type(error).__name__}: {error}"[:300]
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        if said:
            return ModelError("model_stalled", f"{where} said nothing more for {settings.stall_seconds:g} s.")
        return ModelError("model_timeout", f"{where} said nothing within {settings.first_token_seconds:g} s.")
    if isinstance(error, openai.APIConnectionError) and not said:
        return ModelError("model_unreachable", f"{where} cannot be reached: {detail}")
    if isinstance(error, openai.APIStatusError):
        busy = error.status_code in (429, 503)
        code = "model_busy" if busy else "model_refused" if error.status_code < 500 else "model_failed"
        return ModelError(code, f"{where} answered {detail}")
    return ModelError("model_cut" if said else "model_failed", f"{where} failed: {detail}")


async def _close(response: Any) -> None:
    """Hang up: the server stops writing when its client has gone."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await response.close()
