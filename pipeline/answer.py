"""One answer on its way from the language model to the voice: read as fast as it is written, spoken at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import structlog

from pipeline.language_model import ModelError

log = structlog.get_logger(__name__)

MOST_CHARACTERS = 20_000
"""Of an answer; a model that writes more is cut off there."""

TELL_SECONDS = 0.02
"""Between two calls of `wrote`, at least: an answer that comes all at once is told in few events."""


class Answer:
    """Reads a model's stream in a task of its own, so that a slow voice never holds up the model's connection.

    wrote: called with each piece, or some joined. ended: called once, with the reason: finished, failed or interrupted.
    apologise: gives what is said in place of the rest when the model fails.
    """

    def __init__(
        self,
        stream: AsyncGenerator[str, None],
        *,
        wrote: Callable[[str], None],
        ended: Callable[[str], None],
        apologise: Callable[[ModelError], str],
    ) -> None:
        self._stream = stream
        self._wrote = wrote
        self._ended = ended
        self._apologise = apologise
        self._pieces: list[str] = []
        self._more = asyncio.Event()
        self._untold = ""
        self._told_at = float("-inf")
        self._telling: asyncio.TimerHandle | None = None
        self._done = False
        self._task: asyncio.Task[None] | None = None
        self.incomplete = False  # not all of it could be said

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def start(self) -> asyncio.Task[None]:
        """Begin to ask the model. The task is the caller's; it never fails."""
        self._task = asyncio.create_task(self._read(), name="answer")
        return self._task

    def stop(self) -> None:
        """The request is cancelled now, `ended` has been told."""
        if self._task is not None:
            self._task.cancel()
        self._end("interrupted")

    async def pieces(self) -> AsyncIterator[str]:
        """What is written, from the beginning, until it ends."""
        at = 0
        while True:
            while at < len(self._pieces):
                at += 1
                yield self._pieces[at - 1]
            if self._done:
                return
            self._more.clear()
            await self._more.wait()

    async def _read(self) -> None:
        written = 0
        try:
            async with aclosing(self._stream) as stream:
                async for piece in stream:
                    self._write(piece[: MOST_CHARACTERS - written])
                    written += len(piece)
                    if written >= MOST_CHARACTERS:
                        log.warning("answer_too_long", characters=written)
                        break
        except ModelError as error:
            sentence = self._apologise(error)
            self._write(f"\n\n{sentence}" if self._pieces else sentence)
            self._end("failed")
        except Exception:
            log.exception("answer_failed")
            self._end("failed")
        else:
            self._end("finished")

    def _write(self, piece: str) -> None:
        if not self._done:
            self._pieces.append(piece)
            self._more.set()
            self._untold += piece
            if self._telling is None:
                loop = asyncio.get_running_loop()
                due = self._told_at + TELL_SECONDS
                if due <= loop.time():
                    self._tell()
                else:
                    self._telling = loop.call_at(due, self._tell)

    def _tell(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        if self._untold:
            self._told_at = asyncio.get_running_loop().time()
            text, self._untold = self._untold, ""
            self._wrote(text)

    def _end(self, reason: str) -> None:
        if not self._done:
            self._done = True
            self._more.set()
            self._tell()
            self._ended(reason)
