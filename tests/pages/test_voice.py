"""Talking by voice on the student page, with Chromium's fake microphone, against the stand-in server."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.pages.conftest import OpenPage, chromium
from tests.pages.fake_server import FakeServer, FakeSession
from tests.pages.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LIVE = {"en-US": "Live", "zh-CN": "实时连线中"}
# Keeps what the page asks of the microphone, and the tracks that it got.
SPY = """
    window.asked = [];
    window.tracks = [];
    window.refuse = "";
    window.hold = null;
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
        window.asked.push(wanted);
        if (window.hold) await window.hold;
        if (window.refuse) throw new DOMException("no", window.refuse);
        const stream = await ask(wanted);
        window.tracks.push(...stream.getTracks());
        return stream;
    };
    window.addEventListener("DOMContentLoaded", () => {
        window.readOut = [];
        new MutationObserver((changes) => {
            for (const { addedNodes } of changes) window.readOut.push(...[...addedNodes].map((n) => n.textContent));
        }).observe(document.getElementById("announcer"), { childList: true });
    });
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    path = tmp_path_factory.mktemp("voice") / "student.wav"
    murmur(path)
    async with chromium(f"--use-file-for-fake-audio-capture={path}") as started:
        yield started


def murmur(path: Path) -> None:
    """Two seconds of something like a voice: a buzz of 140 Hz in four syllables a second."""
    time = np.arange(2 * 48000) / 48000
    buzz = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 20))
    sound = 0.35 * buzz * np.clip(np.sin(2 * np.pi * 4 * time), 0, 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes((32767 * np.clip(sound, -1, 1)).astype("<i2").tobytes())


def only(server: FakeServer) -> FakeSession:
    (session,) = server.sessions.values()
    return session


async def live(server: FakeServer, open_page: OpenPage, lang: str = "en-US", **options: Any) -> Page:
    """The student page in a session."""
    page = await open_page(server.url, before=SPY, locale=lang, **(options or DESKTOP))
    await page.click("#start")
    await expect(page.locator("#status-words")).to_have_text(LIVE[lang], timeout=15_000)
    return page


async def press(page: Page, selector: str = "#mic") -> None:
    """Put the mouse on it and hold the button down."""
    await page.hover(selector)
    await page.mouse.down()


async def sends(page: Page) -> bool:
    """Whether the connection has a microphone to send now."""
    return bool(
        await page.evaluate("() => window.lectern.pc.getSenders().some((s) => s.track && s.track.kind === 'audio')")
    )


async def sent(page: Page) -> int:
    """Sound packets that have left."""
    return int(
        await page.evaluate(
            """async () => {
                const reports = [...(await window.lectern.pc.getStats()).values()];
                return reports.filter((r) => r.type === "outbound-rtp" && r.kind === "audio")
                    .reduce((sum, r) => sum + r.packetsSent, 0);
            }"""
        )
    )


async def tracks(page: Page) -> list[str]:
    return list(await page.evaluate("() => window.tracks.map((track) => track.readyState)"))


# -- the microphone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("lang", ["en-US", "zh-CN"])
async def test_held_it_is_heard_and_let_go_it_is_not(
    server: FakeServer, open_page: OpenPage, lang: str, size: dict[str, Any]
) -> None:
    page = await live(server, open_page, lang, **size)
    microphone = only(server).microphone
    await expect(page.locator("#mic-words")).to_have_text({"en-US": "Hold to talk", "zh-CN": "按住说话"}[lang])
    assert await page.evaluate("() => window.asked") == []  # nobody is asked before it is wanted
    await expect(page.locator("#mic-none")).to_be_hidden()
    await press(page)
    await expect(page.locator("#mic-words")).to_have_text({"en-US": "Speak now", "zh-CN": "请说话"}[lang])
    await expect(page.locator("#mic")).to_have_attribute("aria-pressed", "true")
    await page.wait_for_timeout(500)  # held, not tapped
    await until(lambda: microphone.frames > 20 and microphone.loudest > 2000)
    await page.wait_for_function(
        "() => Number(document.getElementById('mic-level').style.getPropertyValue('--level')) > .3"
    )
    await page.mouse.up()
    await expect(page.locator("#mic")).to_have_attribute("aria-pressed", "false")
    await until(lambda: _not(sends(page)))
    before = await stands_still(page)
    await page.wait_for_timeout(600)
    assert await sent(page) == before > 20
    # From the first offer on it was one connection, and the browser was asked to keep the tutor's voice out.
    assert microphone.offered == ["sendrecv"]
    assert await page.evaluate("() => window.asked") == [
        {"audio": {"echoCancellation": True, "noiseSuppression": True, "autoGainControl": True}, "video": False}
    ]


async def stands_still(page: Page) -> int:
    """Packets sent once nothing is on its way any more; what goes on being sent never gets here."""
    async with asyncio.timeout(5):
        count = -1
        while (now := await sent(page)) != count:
            count = now
            await page.wait_for_timeout(250)
    return count


async def _not(awaitable: Any) -> bool:
    return not await awaitable


async def test_the_space_bar_talks_outside_of_text_fields(server: FakeServer, open_page: OpenPage) -> None:
    page = await live(server, open_page)
    on, off = expect(page.locator("#mic[aria-pressed=true]")), expect(page.locator("#mic[aria-pressed=false]"))
    await page.focus("#text")
    await page.keyboard.type("a b")
    await expect(page.locator("#text")).to_have_value("a b")
    assert await page.evaluate("() => window.asked.length") == 0
    await page.focus("#log")
    await page.keyboard.down(" ")
    await on.to_be_visible()
    await until(lambda: only(server).microphone.loudest > 2000)
    await page.keyboard.up(" ")
    await off.to_be_visible()
    assert {"Microphone on", "Microphone off"} <= set(await page.evaluate("() => window.readOut"))
    # A button that was reached by keyboard keeps its space bar; one that was clicked gives it up.
    await page.focus("#mute")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(page.locator("#cc")).to_be_focused()
    await page.keyboard.press(" ")
    await expect(page.locator("#cc")).to_have_attribute("aria-pressed", "false")
    await off.to_be_visible()
    await page.click("#cc")
    await page.keyboard.down(" ")
    await on.to_be_visible()
    await page.keyboard.up(" ")
    await off.to_be_visible()
    await expect(page.locator("#cc")).to_have_attribute("aria-pressed", "true")
    await page.keyboard.down(" ")
    await on.to_be_visible()
    await page.evaluate("() => window.dispatchEvent(new Event('blur'))")  # the key is let go in another window
    await off.to_be_visible()
    await page.keyboard.up(" ")


async def test_a_tap_leaves_it_on_until_the_next_one(server: FakeServer, open_page: OpenPage) -> None:
    page = await live(server, open_page)
    ways = (
        lambda: page.click("#mic"),
        lambda: page.press("#mic", "Enter"),
        lambda: page.evaluate("() => document.getElementById('mic').click()"),  # as a screen reader does
    )
    for way in ways:
        await way()
        await expect(page.locator("#mic-words")).to_have_text("Speak now – tap to stop")
        await until(lambda: sends(page))
        await way()
        await expect(page.locator("#mic-words")).to_have_text("Hold to talk")
        await until(lambda: _not(sends(page)))


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_an_open_microphone_stays_on_and_the_choice_is_kept(
    server: FakeServer, open_page: OpenPage, size: dict[str, Any]
) -> None:
    page = await live(server, open_page, **size)
    await page.click("#mic-mode label:nth-of-type(2)")
    await expect(page.locator("#mic-words")).to_have_text("Microphone off")
    await press(page)
    await page.wait_for_timeout(500)  # however long it is pressed
    await page.mouse.up()
    await expect(page.locator("#mic-words")).to_have_text("Microphone on")
    await until(lambda: only(server).microphone.loudest > 2000)
    await page.click("#mic")
    await expect(page.locator("#mic-words")).to_have_text("Microphone off")
    assert await tracks(page) == ["ended"]  # given back: the browser's sign is out
    await page.reload()
    await page.click("#start")
    await expect(page.locator("#mic-words")).to_have_text("Microphone off")
    await expect(page.locator("#space-hint")).to_be_hidden()
    assert await page.evaluate("() => window.asked") == []  # the choice is kept, the microphone is not


async def test_in_full_screen_there_is_a_button_to_talk(server: FakeServer, open_page: OpenPage) -> None:
    page = await live(server, open_page)
    await expect(page.locator("#mic-full")).to_be_hidden()
    await page.click("#full")
    await press(page, "#mic-full")
    await page.wait_for_timeout(500)  # held, not tapped
    await until(lambda: only(server).microphone.loudest > 2000)
    await page.mouse.up()
    await until(lambda: _not(sends(page)))
    assert await page.locator("#mic-full").get_attribute("aria-label") == "Talk"
    await page.evaluate("() => { window.tracks[0].stop(); window.tracks[0].dispatchEvent(new Event('ended')); }")
    await expect(page.locator("#mic-trouble-words")).to_be_in_viewport()
    assert await page.evaluate("() => document.fullscreenElement") is None


async def test_leaving_gives_the_microphone_back(server: FakeServer, open_page: OpenPage) -> None:
    page = await live(server, open_page)
    await page.click("#mic")
    await until(lambda: sends(page))
    await page.click("#leave")
    await expect(page.locator("#voice")).to_be_hidden()
    assert await tracks(page) == ["ended"]


async def test_a_new_connection_goes_on_with_the_open_microphone(server: FakeServer, open_page: OpenPage) -> None:
    page = await live(server, open_page)
    await page.click("#mic-mode label:nth-of-type(2)")
    await page.click("#mic")
    session = only(server)
    await until(lambda: session.microphone.loudest > 2000)
    (old,) = session.peers
    await session.peers[old].close()
    await until(lambda: session.peers.keys() - {old}, limit=20)
    session.microphone.loudest = 0
    await until(lambda: session.microphone.loudest > 2000)
    assert session.microphone.offered == ["sendrecv", "sendrecv"]
    await expect(page.locator("#mic")).to_have_attribute("aria-pressed", "true")


async def test_a_permission_that_comes_after_the_button_is_let_go(server: FakeServer, open_page: OpenPage) -> None:
    page = await live(server, open_page)
    await page.evaluate("() => { window.hold = new Promise((resolve) => { window.allow = resolve; }); }")
    await press(page)
    await expect(page.locator("#mic-words")).to_have_text("Please allow the microphone")
    await page.wait_for_timeout(400)
    await page.mouse.up()
    await page.evaluate("() => window.allow()")
    await expect(page.locator("#mic-words")).to_have_text("Hold to talk")
    await page.wait_for_function("() => window.readOut.includes('The microphone is ready.')")
    assert not await sends(page)  # the button is not held
    await press(page)
    await until(lambda: sends(page))
    assert await page.evaluate("() => window.asked.length") == 1


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize(
    ("lang", "words"),
    [
        (
            "en-US",
            {
                "NotAllowedError": "isn't allowed",
                "NotFoundError": "No microphone",
                "NotReadableError": "another program",
            },
        ),
        ("zh-CN", {"NotAllowedError": "未获允许", "NotFoundError": "没有找到", "NotReadableError": "其他程序"}),
    ],
)
async def test_a_microphone_that_cannot_be_had_is_explained_and_typing_goes_on(
    server: FakeServer, open_page: OpenPage, lang: str, words: dict[str, str], size: dict[str, Any]
) -> None:
    page = await live(server, open_page, lang, **size)
    await page.evaluate("() => { window.refuse = 'NotAllowedError'; }")
    await page.click("#mic")
    for name, sentence in words.items():
        await page.evaluate("(name) => { window.refuse = name; }", name)
        await page.click("#mic-retry")
        await expect(page.locator("#mic-trouble-words")).to_contain_text(sentence)
    await expect(page.locator("#mic")).to_be_hidden()
    assert await page.locator("#mic-trouble-words").get_attribute("role") == "alert"
    await page.fill("#text", "Then I type.")
    await page.press("#text", "Enter")
    await expect(page.locator(".bubble.tutor .said")).to_have_text("Then I type.")
    await page.evaluate("() => { window.refuse = ''; }")
    await page.click("#mic-retry")
    await expect(page.locator("#mic")).to_be_visible()
    await press(page)
    await until(lambda: sends(page))


async def test_a_microphone_that_goes_away_or_says_nothing_is_told(server: FakeServer, open_page: OpenPage) -> None:
    page = await live(server, open_page)
    await page.click("#mic-mode label:nth-of-type(2)")
    await page.click("#mic")
    await until(lambda: sends(page))
    await page.evaluate("() => { window.tracks[0].enabled = false; }")  # muted: what comes is zeros
    await expect(page.locator("#mic-words")).to_have_text("Nothing is heard. Is it muted?")
    await page.evaluate("() => { window.tracks[0].enabled = true; }")
    await expect(page.locator("#mic-words")).to_have_text("Microphone on")
    await page.evaluate("() => { window.tracks[0].stop(); window.tracks[0].dispatchEvent(new Event('ended')); }")
    await expect(page.locator("#mic-trouble-words")).to_contain_text("The microphone has gone")
    assert not await sends(page)
    await page.click("#mic-retry")
    await until(lambda: sends(page))


async def test_a_page_without_a_microphone_to_give_says_why(server: FakeServer, open_page: OpenPage) -> None:
    page = await live(server, open_page)
    await page.evaluate("() => Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    await page.evaluate("() => Object.defineProperty(window, 'isSecureContext', { value: false })")
    await page.click("#mic")
    await expect(page.locator("#mic-trouble-words")).to_contain_text("https pages only")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_a_server_that_cannot_hear_offers_typing_and_says_why(
    server: FakeServer, open_page: OpenPage, size: dict[str, Any]
) -> None:
    reason = "Speech recognition is not installed on this server."
    server.listening = {"available": False, "code": "not_installed", "reason": reason}
    page = await live(server, open_page, **size)
    await expect(page.locator("#mic-none")).to_have_text(
        "Typing only. Speech recognition is not installed on this server."
    )
    await expect(page.locator("#mic-none")).to_be_visible()
    await expect(page.locator("#mic")).to_be_hidden()
    await expect(page.locator("#hello-words")).to_have_text("Type a message below, or try one of these:")
    await page.click("#language")
    await expect(page.locator("#mic-none")).to_have_text("只能打字。此服务器未安装语音识别。")
    await page.focus("#log")
    await page.keyboard.press(" ")
    assert await page.evaluate("() => window.asked") == []
    assert only(server).microphone.offered == ["recvonly"]
    await expect(page.locator("#doing")).to_be_hidden()  # nobody waits for a turn to speak
    await page.fill("#text", "Typed.")
    await page.press("#text", "Enter")
    await expect(page.locator(".bubble.tutor .said")).to_have_text("Typed.")


# -- words ------------------------------------------------------------------------------------------------------------


async def test_guesses_are_shown_as_they_come_and_replaced_by_the_words(
    server: FakeServer, open_page: OpenPage
) -> None:
    page = await live(server, open_page)
    session = only(server)
    said = page.locator(".bubble.student .said")

    async def hear(name: str, text: str, final: bool) -> None:
        await server.tell(session, type="transcription", utterance_id=name, text=text, final=final)

    for guess in ("Wise", "Why is this guy", "Why is the sky"):
        await hear("s1", guess, False)
        await expect(said).to_have_text([guess])
        await expect(page.locator(".bubble.guess")).to_have_count(1)
    await hear("s1", "Why is the sky blue?", True)
    await expect(said).to_have_text(["Why is the sky blue?"])
    await expect(page.locator(".bubble.guess")).to_have_count(0)
    await hear("s2", "Hm", False)
    await expect(said).to_have_count(2)
    await hear("s2", "", True)  # a cough
    await expect(said).to_have_text(["Why is the sky blue?"])
    await hear("s3", "Straight away.", True)
    await expect(said).to_have_text(["Why is the sky blue?", "Straight away."])
    spoken = [line for line in await page.evaluate("() => window.readOut") if line.startswith("You")]
    assert spoken == ["You: Why is the sky blue?", "You: Straight away."]  # each once, no guess


async def test_words_that_could_not_be_made_out_are_told_in_the_readers_language(
    server: FakeServer, open_page: OpenPage
) -> None:
    page = await live(server, open_page, "zh-CN")
    session = only(server)
    await server.tell(session, type="transcription", utterance_id="s1", text="Why", final=False)
    await server.tell(session, type="error", code="recogniser_failed", message="I could not make it out.")
    await server.tell(session, type="transcription", utterance_id="s1", text="", final=True)
    await expect(page.locator(".toast")).to_have_text("没能听清你的话，请打字或再说一遍。")
    await expect(page.locator(".bubble")).to_have_count(0)


async def test_what_no_voice_can_say_is_marked_under_the_spoken_question(
    server: FakeServer, open_page: OpenPage
) -> None:
    page = await live(server, open_page)
    session = only(server)
    await server.tell(session, type="transcription", utterance_id="s1", text="How do you say hello?", final=True)
    await server.tell(session, type="text_stream", utterance_id="u1", text="Привет")
    await server.tell(session, type="error", code="cannot_say", utterance_id="u1", details={"text": "Привет"})
    ending = {"generation": 0, "reason": "finished", "position": 0.0, "heard": ""}
    await server.tell(session, type="speech_ended", utterance_id="u1", **ending)
    await expect(page.locator(".bubble.student .unsaid")).to_contain_text("Привет")


async def test_what_the_tutor_does_is_said_in_words(server: FakeServer, open_page: OpenPage) -> None:
    page = await live(server, open_page)
    session, doing = only(server), page.locator("#doing-words")
    await expect(doing).to_have_text("Your turn")
    words = {
        "listening": ("Listening…", "正在听…"),
        "waiting": ("Making out your words…", "正在辨认你的话…"),
        "thinking": ("Thinking…", "正在思考…"),
        "speaking": ("Speaking", "正在说话"),
        "interrupted": ("Stopped to listen", "停下来听你说"),
        "idle": ("Your turn", "轮到你了"),
    }
    for status, (english, chinese) in words.items():
        await server.tell(session, type="processing_status", status=status)
        await expect(doing).to_have_text(english)
        await page.click("#language")
        await expect(doing).to_have_text(chinese)
        await page.click("#language")
    await server.tell(session, type="processing_status", status="dreaming")  # of a later server
    await server.tell(session, type="processing_status", status="waiting", utterance_id="s1", request_id="8")
    await server.tell(session, type="transcription", utterance_id="s1", text="And now?", final=True)
    await expect(page.locator(".bubble.student")).to_have_count(1)
    assert await doing.inner_text() == "Your turn"
    await server.tell(session, type="processing_status", status="thinking")
    await page.wait_for_function("() => window.readOut.includes('Thinking…')")  # it takes long
    await page.click("#leave")
    await expect(page.locator("#doing")).to_be_hidden()


@pytest.mark.parametrize(
    ("lang", "you", "tutor", "mark"),
    [("en-US", "You: ", "Tutor: ", " (interrupted)"), ("zh-CN", "你：", "导师：", " (已打断)")],
)
async def test_the_transcript_can_be_taken_away(
    server: FakeServer, open_page: OpenPage, lang: str, you: str, tutor: str, mark: str
) -> None:
    page = await live(server, open_page, lang)
    session = only(server)
    await expect(page.locator(".save")).to_be_disabled()
    await page.fill("#text", "One two.\n\nThree.")
    await page.press("#text", "Enter")
    await expect(page.locator(".bubble.tutor:not(.speaking) .said")).to_have_text("One two. Three.")
    await server.tell(session, type="speech_started", utterance_id="u9", generation=0, text="")
    await server.tell(session, type="caption", utterance_id="u9", index=0, word="Because", start=0.0, end=0.1)
    await server.tell(session, type="transcription", utterance_id="s1", text="Wait, why?", final=True)
    ending = {"generation": 0, "reason": "interrupted", "position": 0.1, "heard": "Because"}
    await server.tell(session, type="speech_ended", utterance_id="u9", **ending)
    await expect(page.locator(".bubble.tutor .mark")).to_have_count(1)
    await page.click("#leave")  # it can be had afterwards, too
    await page.click("#options-open")
    async with page.expect_download() as loading:
        await page.locator("#options [data-save]").click()
    download = await loading.value
    assert download.suggested_filename.startswith("lectern-ms-chen-2")
    assert download.suggested_filename.endswith(".txt")
    lines = Path(await download.path()).read_text(encoding="utf-8").splitlines()
    assert "Ms Chen" in lines[0]
    assert [line.split("] ", 1)[-1] for line in lines[4:]] == [
        f"{you}One two.",
        "    Three.",
        f"{tutor}One two. Three.",
        f"{tutor}Because{mark}",  # in the order in which they were begun
        f"{you}Wait, why?",
    ]
    assert all(line.startswith("[") for line in lines[4:] if not line.startswith("    "))


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_the_text_grows_and_stays_so(server: FakeServer, open_page: OpenPage, size: dict[str, Any]) -> None:
    page = await live(server, open_page, **size)
    await page.fill("#text", "Read this.")
    await page.press("#text", "Enter")
    await expect(page.locator(".bubble.tutor .said")).to_have_text("Read this.")

    async def pixels() -> list[float]:
        return list(
            await page.evaluate(
                "() => [...document.querySelectorAll('.tutor .said, #text')]"
                ".map((node) => parseFloat(getComputedStyle(node).fontSize))"
            )
        )

    assert await pixels() == [16, 16]
    await page.click("#options-open")
    await page.click("#text-size label:nth-of-type(3)")
    await page.keyboard.press("Escape")
    assert min(await pixels()) > 24
    assert await page.evaluate("() => document.documentElement.scrollWidth") <= size["viewport"]["width"]
    await page.reload()
    await page.click("#start")
    await expect(page.locator("#text")).to_be_visible()
    assert min(await pixels()) > 24


async def test_less_motion_by_the_device_and_by_choice(server: FakeServer, open_page: OpenPage) -> None:
    page = await live(server, open_page)
    await page.evaluate("() => { document.getElementById('thinking').hidden = false; }")
    thinking = page.locator("#thinking")
    await expect(thinking).to_have_css("animation-duration", "1.6s")
    await page.emulate_media(reduced_motion="reduce")
    await expect(thinking).to_have_css("animation-duration", "1e-05s")
    await page.click("#options-open")
    await expect(page.locator("#motion")).to_be_checked()
    await page.click(".switch[for=motion]")
    await expect(thinking).to_have_css("animation-duration", "1.6s")  # the student knows better than the device
    await page.emulate_media(reduced_motion="no-preference")
    await page.click(".switch[for=motion]")
    await page.reload()
    assert await page.evaluate("() => document.documentElement.dataset.motion") == "calm"


@pytest.mark.parametrize("width", [1280, 390, 360])
@pytest.mark.parametrize("lang", ["en-US", "zh-CN"])
async def test_the_strip_fits(server: FakeServer, open_page: OpenPage, lang: str, width: int) -> None:
    page = await live(server, open_page, lang, viewport={"width": width, "height": 740})
    for _ in range(2):  # hold, then open
        for name in ("#mic", "#mic-mode", "#options-open", "#send", "#interrupt"):
            box = await page.locator(name).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert box["y"] + box["height"] <= 740
            assert min(box["width"], box["height"]) >= 40
        words = await page.locator("#mic-words").bounding_box()
        switch = await page.locator("#mic-mode").bounding_box()
        assert words is not None
        assert switch is not None
        assert words["x"] + words["width"] <= switch["x"]
        outer = await page.locator("#interrupt").bounding_box()
        inner = await page.locator("#interrupt span").bounding_box()
        assert outer is not None
        assert inner is not None
        assert outer["x"] + 6 <= inner["x"]
        assert inner["x"] + inner["width"] <= outer["x"] + outer["width"] - 6
        await page.click("#mic-mode label:nth-of-type(2)")
    assert await page.evaluate("() => document.documentElement.scrollWidth") <= width


# -- small parts ------------------------------------------------------------------------------------------------------


async def test_presses_and_loudness(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    seen = await page.evaluate(
        """async () => {
            const { Presses } = await import("/static/js/speaking.js");
            const { loudness, level } = await import("/static/js/microphone.js");
            const presses = new Presses();
            const said = [];
            const act = (name, ...rest) => { presses[name](...rest); said.push(presses.talking); };
            act("press", 0); act("release", 900);          // held
            act("press", 1000); act("release", 1100);      // tapped on
            act("press", 5000); act("release", 9000);      // and off, however long
            act("press", 9100); act("release", 9150, false); // the space bar is not tapped
            const sine = Float32Array.from({ length: 4800 }, (_, n) => Math.sin(n / 10));
            return [said, Math.round(loudness(sine)), Math.round(loudness(new Float32Array(8))),
                    level(-90), level(-33.5), level(0)];
        }"""
    )
    assert seen == [[True, False, True, True, False, False, True, False], -3, -120, 0, 0.5, 1]
