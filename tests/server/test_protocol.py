"""docs/protocol.md tells the truth: each of its examples is read, or compared with what the server really writes."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from aiohttp import ClientWebSocketResponse

from pipeline.events import Event
from server import event_ring, session_events
from server.messages import Incoming, parse
from server.session import Typed
from server.session_events import encode
from tests.rtc.clients import AiortcViewer
from tests.server.conftest import Serve
from tests.server.test_ws import heard

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
TEXT = PAGE.read_text()


def examples(title: str) -> list[dict[str, Any]]:
    """The JSON examples below a heading."""
    (section,) = re.findall(rf"^### {title}\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)]


def events() -> dict[str, type[Event]]:
    """Those that clients are told of."""
    return {kind.type: kind for kind in Event.__subclasses__() if kind.type != Typed.type}


def answer_to(request_id: str) -> dict[str, Any]:
    (found,) = [each for each in examples("Answers") if each["request_id"] == request_id]
    return found


def test_every_message_of_a_client_has_an_example_that_is_understood_with_every_field() -> None:
    shown = {}
    for example in examples("From the client"):
        message = parse(json.dumps(example))
        fields = {field.alias or name for name, field in type(message).model_fields.items()}
        assert fields == example.keys(), "an example shows every field"
        shown[type(message)] = example
    union, _ = get_args(Incoming)
    assert shown.keys() == set(get_args(union))


def test_every_event_has_an_example_with_its_own_fields() -> None:
    shown = {example["type"]: example for example in examples("Events")}
    assert shown.keys() == events().keys()
    for name, example in shown.items():
        fields = {field.name: field for field in dataclasses.fields(events()[name])}
        assert example.keys() - {"type"} == fields.keys(), name
        again = events()[name](**{key: value for key, value in example.items() if key != "type"})
        assert again.as_message() == example


def test_every_code_and_status_that_the_page_names_exists() -> None:
    """And the other way round: every code of the language model, every status of a tutor."""
    from pipeline import language_model, turns

    named = set(re.findall(r"`(\w+)`", TEXT))
    codes = set(re.findall(r'"(model_\w+)"', Path(language_model.__file__).read_text()))
    assert codes == {name for name in named if name.startswith("model_")}
    assert {state.value for state in turns.State} | {"idle"} <= named


async def asked(socket: ClientWebSocketResponse, message: dict[str, Any]) -> dict[str, Any]:
    """Send; the direct answer to it."""
    await socket.send_json(message)
    while True:
        answer = dict(await socket.receive_json(timeout=30))
        if answer.get("request_id") == message.get("request_id") and "request_id" in answer:
            return answer


async def test_the_clients_examples_are_answered_as_the_page_says(serve: Serve) -> None:
    server = await serve()
    socket = await server.client.ws_connect((await server.session())["engine_url"])
    sent = {example["type"]: example for example in examples("From the client")}
    for kind in ("init", "text", "say", "webrtc_ice_candidate"):
        answer = await asked(socket, sent[kind])
        shown = answer_to("2" if kind == "say" else sent[kind]["request_id"])
        assert answer.keys() == shown.keys(), kind
        if kind == "init":
            assert (answer["status"], answer["mode"]) == (shown["status"], shown["mode"])
        if kind == "webrtc_ice_candidate":
            assert answer == shown
    await socket.send_json(sent["interrupt"])
    assert (await heard(socket, "interrupted"))["generation"] == 1
    assert (await asked(socket, {"type": "dance"})) == answer_to(None)  # type: ignore[arg-type]
    viewer = AiortcViewer()
    try:
        answer = await asked(socket, {**sent["webrtc_offer"], "sdp": await viewer.offer()})
        assert answer.keys() == answer_to("6").keys()
    finally:
        await viewer.close()
        await socket.close()


def test_the_stream_of_events_is_written_as_the_page_shows_it() -> None:
    (block,) = re.findall(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    shown = [each for each in block.split("\n\n") if each]
    assert shown[0] == f"retry: {session_events.RETRY_MS}"
    read = 0
    for each in shown[1:]:
        if each.startswith(":"):
            continue
        number = re.search(r"^id: (\d+)$", each, re.MULTILINE)
        data = json.loads(re.findall(r"^data: (.*)$", each, re.MULTILINE)[0])
        assert encode(data, int(number[1]) if number else None) == f"{each}\n\n"
        read += 1
    assert read == 4


@pytest.mark.parametrize(
    "words",
    [
        f"The last {event_ring.CAPACITY} events are kept",
        f"After {session_events.HEARTBEAT_SECONDS:g} s without an event",
        f"takes nothing for {session_events.SEND_SECONDS:g} s",
        f"at most {session_events.MOST_READERS} (429 `too_many_readers`)",
    ],
)
def test_the_limits_are_those_of_the_code(words: str) -> None:
    assert words in TEXT
