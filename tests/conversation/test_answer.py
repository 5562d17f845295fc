"""How an answer is read from a model: bounded, and told in few pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from pipeline.answer import MOST_CHARACTERS, Answer
from tests.rtc.clients import until


async def stream(*pieces: str, then: float = 0.0) -> AsyncGenerator[str, None]:
    for piece in pieces:
        yield piece
    await asyncio.sleep(then)


def reading(pieces: AsyncGenerator[str, None]) -> tuple[Answer, list[str]]:
    """An answer, and what is told of it; its end as the last."""
    told: list[str] = []
    return Answer(pieces, wrote=told.append, ended=told.append, apologise=str), told


async def test_a_piece_of_any_size_is_cut_at_the_longest_answer() -> None:
    answer, told = reading(stream("word ", "a" * 5_000_000))
    await answer.start()
    assert len(answer.text) == MOST_CHARACTERS
    assert told[-1] == "finished"
    assert "".join(told[:-1]) == answer.text


async def test_pieces_that_come_together_are_told_together_and_all_before_the_end() -> None:
    answer, told = reading(stream(*"abcdefghij"))
    await answer.start()
    assert told == ["a", "bcdefghij", "finished"]


async def test_what_waits_to_be_told_does_not_wait_for_more() -> None:
    answer, told = reading(stream("a", "b", then=60))
    task = answer.start()
    await until(lambda: told == ["a", "b"])
    answer.stop()
    assert told == ["a", "b", "interrupted"]
    await asyncio.wait({task})
