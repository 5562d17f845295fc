"""What a client sends: what is understood, what needs nothing, and how the rest is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.rtvi.messages import (
    AppendToContext,
    ClientMessage,
    ClientReady,
    DisconnectBot,
    MessageError,
    Nothing,
    SendText,
    compatible,
    parse,
)


def text(kind: str, data: Any = None, **more: Any) -> str:
    return json.dumps({"label": "rtvi-ai", "type": kind, "id": "1", "data": data, **more})


def test_messages_that_are_understood() -> None:
    about = {"library": "@pipecat-ai/client-js", "library_version": "1.13.1"}
    ready = parse(text("client-ready", {"version": "2.1.0", "about": about}))
    assert isinstance(ready, ClientReady)
    assert ready.data.version == "2.1.0"
    sent = parse(text("send-text", {"content": "Hi.", "options": {}}))
    assert isinstance(sent, SendText)
    assert (sent.id, sent.data.content) == ("1", "Hi.")
    assert sent.data.options.run_immediately
    assert sent.data.options.audio_response
    assert isinstance(parse(text("append-to-context", {"role": "user", "content": "Hi."})), AppendToContext)
    own = parse(text("client-message", {"t": "interrupt", "d": None}))
    assert isinstance(own, ClientMessage)
    assert own.data.t == "interrupt"
    assert isinstance(parse(text("disconnect-bot", {})), DisconnectBot)


@pytest.mark.parametrize(
    "message",
    [
        "ping: 1700000000000",
        json.dumps({"type": "signalling", "message": {"type": "trackStatus", "receiver_index": 0, "enabled": True}}),
        text("ui-snapshot", {"tree": {}}),
        text("ui-event", {"event": "x"}),
        text("llm-function-call-result", {}),
    ],
)
def test_messages_that_need_nothing(message: str) -> None:
    assert isinstance(parse(message), Nothing)


@pytest.mark.parametrize(
    ("message", "why", "request_id"),
    [
        ("{", "not JSON", None),
        ("[" * 10_000, "not JSON", None),
        ("NaN", "not JSON", None),
        ("[]", "JSON object", None),
        ('"send-text"', "JSON object", None),
        (json.dumps({"type": "send-text", "id": "1"}), "label", None),
        (text("dtmf", {"buttons": ["1"]}), "not supported", "1"),
        (text("send-file", {}), "not supported", "1"),
        (json.dumps({"label": "rtvi-ai", "id": "1"}), "not supported", "1"),
        (json.dumps({"label": "rtvi-ai", "id": "1", "type": ["send-text"]}), "not supported", "1"),
        (text("send-text"), "data", "1"),
        (text("send-text", {"content": ""}), "content", "1"),
        (text("send-text", {"content": 5}), "content", "1"),
        (text("send-text", {"content": "x", "options": {"run_immediately": "perhaps"}}), "run_immediately", "1"),
        (text("append-to-context", {"role": "assistant", "content": "x"}), "role", "1"),
        (text("client-message", {"d": 1}), "t", "1"),
        (text("client-message", {"t": "x" * 101}), "t", "1"),
        (text("client-ready", {"version": "2" * 50}), "version", "1"),
        (text("send-text", {"content": "x"}, id=None), "id", None),
        (text("send-text", {"content": "x"}, id="x" * 101), "id", None),
    ],
)
def test_messages_that_are_refused(message: str, why: str, request_id: str | None) -> None:
    with pytest.raises(MessageError, match=why) as caught:
        parse(message)
    assert caught.value.request_id == request_id


def test_versions() -> None:
    assert compatible("2.0.0")
    assert compatible("2.7.1")
    assert not compatible("1.4.0")
    assert not compatible("")
