"""What comes out of a model's server, and what is told when nothing more does."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from pipeline.apologies import apology
from pipeline.history import Message
from pipeline.language_model import ModelError, ModelSettings, OpenAIModel, Repeater
from tests.conversation.model_server import ModelServer, model_server, pieces
from tests.rtc.clients import until

QUESTION = [Message("system", "You are kind."), Message("user", "What do plants eat?")]


def model_at(url: str, **more: Any) -> OpenAIModel:
    return OpenAIModel(ModelSettings(url, "tiny", **more))


async def read(model: OpenAIModel, **more: Any) -> list[str]:
    return [piece async for piece in model.stream(QUESTION, **more)]


async def refused(server: ModelServer, **more: Any) -> tuple[str, list[str]]:
    """The error's code, and what came before it."""
    model = model_at(server.url, **more)
    got: list[str] = []
    try:
        async for piece in model.stream(QUESTION):
            got.append(piece)
    except ModelError as error:
        return error.code, got
    finally:
        await model.close()
    raise AssertionError("it did not fail")


async def test_an_answer_comes_piece_by_piece_and_the_request_says_what_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    monkeypatch.setenv("OPENAI_ORG_ID", "from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    async with model_server(reply="Light and water.") as server:
        model = model_at(server.url, temperature=0.2, max_tokens=99)
        assert await read(model, kb_id="kb-7") == pieces("Light and water.")
        assert await read(model, name="other") == pieces("Light and water.")
        await model.close()
        body, second = server.asked
    assert body["messages"] == [
        {"role": "system", "content": "You are kind."},
        {"role": "user", "content": "What do plants eat?"},
    ]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0.2, 99)
    assert body["metadata"] == {"kb_id": "kb-7"}
    assert (second["model"], "metadata" in second) == ("other", False)
    assert server.keys[0] == "Bearer none", "only what the settings say counts"
    assert server.organizations[0] is None


async def test_the_key_is_sent() -> None:
    async with model_server(reply="Yes.") as server:
        model = model_at(server.url, api_key="s3cret")
        await read(model)
        await model.close()
        assert server.keys == ["Bearer s3cret"]


async def test_stopping_to_read_ends_the_request() -> None:
    async with model_server(speed=100) as server:
        model = model_at(server.url)
        stream = model.stream(QUESTION)
        await anext(stream)
        await stream.aclose()
        await until(lambda: server.hung_up == 1 and server.open == 0)

        reading = asyncio.create_task(read(model))
        await until(lambda: server.open == 1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(lambda: server.hung_up == 2 and server.open == 0)
        await model.close()


async def test_a_request_that_was_not_answered_yet_is_ended_too() -> None:
    async with model_server(first_token=60) as server:
        model = model_at(server.url)
        reading = asyncio.create_task(read(model))
        await until(lambda: server.open == 1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(lambda: server.hung_up == 1)
        await model.close()


@pytest.mark.parametrize(
    ("switches", "code", "said"),
    [
        ({"status": 401}, "model_refused", 0),
        ({"status": 404}, "model_refused", 0),
        ({"status": 400}, "model_refused", 0),
        ({"status": 429}, "model_busy", 0),
        ({"status": 503}, "model_busy", 0),
        ({"status": 500}, "model_failed", 0),
        ({"fail_after": 0, "failure": "error"}, "model_failed", 0),
        ({"fail_after": 3, "failure": "error"}, "model_cut", 3),
        ({"fail_after": 3, "failure": "cut"}, "model_cut", 3),
        ({"fail_after": 3, "failure": "end"}, "model_cut", 3),
        ({"reply": ""}, "model_empty", 0),
    ],
    ids=str,
)
async def test_every_failure_has_its_code(switches: dict[str, Any], code: str, said: int) -> None:
    async with model_server(**switches) as server:
        assert await refused(server) == (code, pieces(server.switches.reply)[:said])
    assert apology(code, "What is it?").endswith(".")
    assert apology(code, "这是什么？").endswith("。")


async def test_a_model_that_says_nothing_or_nothing_more_in_time() -> None:
    async with model_server(first_token=60) as server:
        assert await refused(server, first_token_seconds=0.3) == ("model_timeout", [])
    async with model_server(fail_after=2, failure="stall") as server:
        code, got = await refused(server, stall_seconds=1.0)
        assert (code, len(got)) == ("model_stalled", 2)
        await until(lambda: server.hung_up == 1)


async def test_pieces_without_text_are_no_progress() -> None:
    async with model_server(fail_after=2, failure="empty") as server:
        async with asyncio.timeout(10):
            code, got = await refused(server, stall_seconds=1.0)
        assert (code, len(got)) == ("model_stalled", 2)
        await until(lambda: server.hung_up == 1)


async def test_halves_of_characters_are_joined_and_lone_ones_replaced() -> None:
    async with model_server(reply="Bravo!\ud83d\ude00 A \ud800. \ud83d", escaped=True) as server:
        assert pieces(server.switches.reply)[0].endswith("\ud83d"), "cut in the middle of a character"
        model = model_at(server.url)
        assert "".join(await read(model)) == "Bravo!😀 A \ufffd. \ufffd"
        await model.close()


async def test_a_flood_of_pieces_holds_up_nobody_else() -> None:
    async with model_server(reply="word " * 2000) as server:
        model = model_at(server.url)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        seen = [turns async for _ in model.stream(QUESTION)]
        counting.cancel()
        await model.close()
        assert len(set(seen)) == len(seen) == 2000, "between any two pieces the others have a turn"


async def test_a_server_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(ModelError) as error:
            await read(model_at(url))
    assert error.value.code == "model_unreachable"


async def test_without_a_model_the_last_message_comes_back() -> None:
    assert [piece async for piece in Repeater().stream(QUESTION)] == ["What do plants eat?"]
