"""The public RTVI clients, as they come from npm, in Chromium, on another site's page, against the real server."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Page

from pipeline.events import RecordingStopped
from pipeline.voices.hibari_model import HibariModel
from server.keys import PEERS, SESSIONS
from tests.conversation.model_server import Switches
from tests.needs import NO_WHISPER, missing
from tests.pages.test_real import record
from tests.pages.waiting import until
from tests.rtvi.conftest import Open, Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

LIMIT = 40.0  # s, on a busy machine
SOON = 15.0  # s, also: well before a connection that says nothing any more is given up
REPLY = "Good morning. The sky is blue because the air scatters blue light more than red light. That is all."
LONG = "First we look at the sky. " + " ".join(f"Then we count to number {n} and talk about it." for n in range(2, 40))


async def connect(page: Page, endpoint: str) -> dict[str, Any]:
    script = "endpoint => rtvi.client.connect({ webrtcRequestParams: { endpoint } })"
    return dict(await page.evaluate(script, endpoint))


async def told(page: Page, kind: str) -> list[Any]:
    """The data of every event of a kind so far, in order."""
    return list(await page.evaluate("kind => rtvi.events.filter(e => e.type === kind).map(e => e.data ?? null)", kind))


async def tells(page: Page, kind: str, limit: float = LIMIT, more: int = 1) -> list[Any]:
    async def enough() -> bool:
        return len(await told(page, kind)) >= more

    await until(enough, limit)
    return await told(page, kind)


async def louder(page: Page, than: float, limit: float = LIMIT) -> None:
    async def loud() -> bool:
        return float(await page.evaluate("() => rtvi.loudness()")) > than

    await until(loud, limit)


async def falls_silent(page: Page) -> float:
    """Seconds until a second begins in which nothing is heard; some of it is still in the browser's buffer."""
    script = """async () => {
        const begun = performance.now();
        let last = begun;
        while (performance.now() < last + 1000 && last < begun + 5000) {
            if (rtvi.loudness() > 1e-3) last = performance.now();
            await new Promise(r => setTimeout(r, 20));
        }
        return (last - begun) / 1000;
    }"""
    return float(await page.evaluate(script))


async def sees(page: Page, more: int, counter: str = "frames") -> None:
    first = await page.evaluate(f"() => rtvi.{counter}()")

    async def seen() -> bool:
        return int(await page.evaluate(f"() => rtvi.{counter}()")) >= first + more

    await until(seen, LIMIT)


async def test_connect_ask_read_hear_see_and_leave(site: Site, open_client: Open) -> None:
    session, endpoint = await site.session()
    site.model.switches = Switches(reply=REPLY, first_token=0.05, speed=40)
    session.recording_id = "r1"  # as if it had begun before
    page = await open_client()
    ready = await connect(page, endpoint)
    assert await tells(page, "ServerMessage") == [{"type": "recording_started", "recording_id": "r1"}]
    session.emit(RecordingStopped("r1", "stopped"))
    assert (await tells(page, "ServerMessage", more=2))[1]["type"] == "recording_stopped"
    assert ready["version"] == "2.1.0"
    assert ready["about"]["library"] == "lectern"
    assert await told(page, "MessageError") == []
    assert site.app[SESSIONS].connected(session) == 1
    await sees(page, 25)
    assert min(await page.evaluate("() => rtvi.size()")) > 100
    offered = await page.evaluate("() => rtvi.client._transport.pc.localDescription.sdp.match(/^m=[a-z]+/gm)")
    assert offered == ["m=audio", "m=video", "m=video", "m=application"]  # as with the default media manager
    assert await page.evaluate("() => rtvi.client.transport.maxMessageSize") == 64 * 1024

    await page.evaluate("() => rtvi.client.sendText('Why is the sky blue?')")
    await tells(page, "BotStartedSpeaking")
    await louder(page, 0.01)
    await sees(page, 25)  # the face goes on with words
    await tells(page, "BotStoppedSpeaking")
    assert (await told(page, "UserLlmText")) == [{"text": "Why is the sky blue?"}]
    assert "".join(each["text"] for each in await told(page, "BotLlmText")) == REPLY
    assert " ".join(each["text"] for each in await told(page, "BotTtsText")) == REPLY
    for kind in ("BotLlmStarted", "BotLlmStopped", "BotTtsStarted", "BotTtsStopped", "BotStartedSpeaking"):
        assert len(await told(page, kind)) == 1, kind
    outputs = await told(page, "BotOutput")
    sentences = [each["text"] for each in outputs if each["spoken_status"] == "new"]
    assert " ".join(sentences) == REPLY
    assert [each["text"] for each in outputs if each["spoken_status"] == "completed"] == sentences
    assert [each["text"] for each in await told(page, "BotTranscript")] == sentences
    for each in outputs:
        assert each["spoken_progress"]["accumulated_text"] + each["spoken_progress"]["remaining_text"] == each["text"]
    assert await told(page, "Error") == await told(page, "MessageError") == []

    await page.evaluate("() => rtvi.client.disconnect()")
    await until(lambda: site.app[SESSIONS].connected(session) == site.app[PEERS].count() == 0, SOON)
    assert session.listeners == set()
    assert not session.ended


async def test_the_clients_own_start_then_an_interruption_and_an_asking_over(site: Site, open_client: Open) -> None:
    site.model.switches = Switches(reply=LONG, first_token=0.05, speed=100)
    page = await open_client()
    script = """endpoint => rtvi.client.startBotAndConnect({
        endpoint, requestData: { body: { tutor_id: "ada", student_id: "s2" } } })"""
    ready = await page.evaluate(script, f"{site.url}/v1/rtvi/start")
    assert ready["version"] == "2.1.0"
    await page.evaluate("() => rtvi.client.sendText('Talk for long.')")
    await tells(page, "BotTtsText", more=5)
    await louder(page, 0.01)
    done = await page.evaluate("async () => await rtvi.client.sendClientRequest('interrupt', null)")
    assert done["generation"] >= 1
    await tells(page, "BotStoppedSpeaking")
    heard = len(await told(page, "BotTtsText"))
    assert await falls_silent(page) < 3.0  # of more than a minute that it had still to say
    assert len(await told(page, "BotTtsText")) == heard
    outputs = await told(page, "BotOutput")
    assert outputs[-1]["spoken_status"] != "completed" or outputs[-1]["text"] in LONG[:300]

    # Asking over an answer stops it, too.
    await page.evaluate("() => rtvi.client.sendText('Again.')")
    await tells(page, "BotStartedSpeaking", more=2)
    site.model.switches = Switches(reply="Yes.", first_token=0.05, speed=100)
    await page.evaluate("() => rtvi.client.sendText('Shortly, please.')")
    await tells(page, "BotStoppedSpeaking", more=3)
    assert [each["text"] for each in (await told(page, "BotTtsText"))[-1:]] == ["Yes."]

    # What is not supported is told, and the conversation goes on.
    await page.evaluate("() => rtvi.client.sendText('No sound.', { audio_response: false })")
    (refused,) = await tells(page, "MessageError")
    assert "audio_response" in refused["data"]["error"]
    wrong = """async () => {
        try { await rtvi.client.sendClientRequest('juggle', {}); } catch (error) { return error.data.error; } }"""
    assert "interrupt, say or stay" in await page.evaluate(wrong)
    said = await page.evaluate("async () => await rtvi.client.sendClientRequest('say', { text: 'Good bye.' })")
    assert said["utterance_id"]
    await tells(page, "BotStoppedSpeaking", more=4)
    assert (await told(page, "BotTtsText"))[-1]["text"] == "bye."
    await page.evaluate("() => rtvi.client.disconnectBot()")
    await tells(page, "BotDisconnected")
    await tells(page, "Disconnected")
    await until(lambda: site.app[PEERS].count() == 0, SOON)


async def test_a_lost_connection_is_made_again_and_a_session_that_ends_lets_the_client_go(
    site: Site, open_client: Open
) -> None:
    session, endpoint = await site.session()
    site.model.switches = Switches(reply=REPLY, first_token=0.05, speed=40)
    page = await open_client()
    await connect(page, endpoint)
    (first,) = site.app[PEERS].of(session.id)
    await sees(page, 5)
    # What the transport does by itself 5 s after its network broke.
    await page.evaluate("() => rtvi.client._transport.attemptReconnection(true)")
    await until(lambda: [e.id for e in site.app[PEERS].of(session.id)] not in ([], [first.id]), SOON)
    await sees(page, 25, "decoded")  # the client tells no new track: it forgets it with the old one's end
    (second,) = site.app[PEERS].of(session.id)
    await until(lambda: second.peer.state == "connected")
    assert await told(page, "BotDisconnected") == []
    # And when its candidates came too late: the same offer once more.
    await page.evaluate("() => rtvi.client._transport.attemptReconnection(false)")
    await page.wait_for_function("() => !rtvi.client._transport.isReconnecting")
    await sees(page, 25, "decoded")
    assert site.app[PEERS].of(session.id) == [second]
    await page.evaluate("() => rtvi.client.sendText('Are you still there?')")
    await tells(page, "BotStartedSpeaking")

    await site.app[SESSIONS].end(session, "deleted")
    await tells(page, "BotDisconnected")
    await tells(page, "Disconnected")
    assert await page.evaluate("() => rtvi.client.state") == "disconnected"


async def test_a_wrong_token_is_told_and_not_tried_again(site: Site, open_client: Open) -> None:
    session, endpoint = await site.session()
    page = await open_client()
    script = """async endpoint => {
        try { await rtvi.client.connect({ webrtcRequestParams: { endpoint } }); }
        catch (error) { return error.message; } }"""
    assert "401" in await page.evaluate(script, endpoint.partition("token=")[0] + "token=nonsense")
    assert site.app[SESSIONS].connected(session) == 0


async def test_talking(site: Site, open_client: Open) -> None:
    if not site.hears:
        missing(NO_WHISPER)
    session, endpoint = await site.session()
    site.model.switches = Switches(reply="They need water, air and light.", first_token=0.05, speed=40)
    record(site.voice, HibariModel("heart"), "What do plants need to grow?")
    page = await open_client()
    await connect(page, endpoint)
    await sees(page, 5)
    await page.evaluate("() => rtvi.speak()")
    await tells(page, "UserStartedSpeaking")
    await tells(page, "BotStartedSpeaking")
    transcripts = await told(page, "UserTranscript")
    assert [each["final"] for each in transcripts][-1:] == [True]
    assert re.findall(r"[a-z]+", transcripts[-1]["text"].lower()) == ["what", "do", "plants", "need", "to", "grow"]
    assert transcripts[-1]["user_id"] == "s1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", transcripts[-1]["timestamp"])
    await tells(page, "BotStoppedSpeaking")
    assert len(await told(page, "UserStoppedSpeaking")) == len(await told(page, "UserStartedSpeaking")) == 1
    assert " ".join(each["text"] for each in await told(page, "BotTtsText")) == "They need water, air and light."
    await page.evaluate("() => rtvi.client.disconnect()")
    await until(lambda: site.app[SESSIONS].connected(session) == 0, SOON)
