"""The student page against the stand-in server: choosing, talking, interrupting, and everything that can fail."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.pages.conftest import OpenPage
from tests.pages.fake_server import FakeServer, FakeSession, refuse
from tests.pages.waiting import grows, stats, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


def only(server: FakeServer) -> FakeSession:
    (session,) = server.sessions.values()
    return session


async def start(page: Page, words: str = "Live") -> None:
    await page.click("#start")
    await expect(page.locator("#status-words")).to_have_text(words, timeout=15_000)


async def test_start_shows_a_moving_picture(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await expect(page.locator("#start-words")).to_have_text("Start with Ms Chen")
    await start(page)
    await expect(page.locator("#stage.playing")).to_be_visible()
    await grows(page, "frames", 10)
    await grows(page, "currentTime", 0.3)
    seen = await stats(page)
    assert (seen["width"], seen["height"]) == (480, 270)
    assert seen["firstFrameAt"] > seen["offeredAt"] > 0
    await expect(page.locator(".chip")).to_have_text("This is an AI avatar")
    await expect(page.locator(".chip")).to_be_visible()
    # The offer did not wait for candidates; they followed, with the credentials of the same connection.
    await until(lambda: any("a=end-of-candidates" in patch for patch in server.patches))
    assert all("a=ice-ufrag:" in patch for patch in server.patches)


async def test_typing_is_spoken_and_captioned_word_by_word(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    server.gate = asyncio.Semaphore(4)
    await page.fill("#text", "The sky is blue because air scatters light.")
    await page.press("#text", "Enter")
    await expect(page.locator("#text")).to_have_value("")
    await expect(page.locator("#captions .now")).to_have_text("blue")
    assert await page.locator("#captions p").inner_text() == "The sky is blue"
    await grows(page, "audioEnergy", 1e-4)
    for _ in range(4):
        server.gate.release()
    await expect(page.locator(".bubble.student .said")).to_have_text("The sky is blue because air scatters light.")
    await expect(page.locator(".bubble.tutor:not(.speaking) .said")).to_have_text(
        "The sky is blue because air scatters light."
    )
    await expect(page.locator("#interrupt")).to_be_disabled()
    await expect(page.locator("#captions")).to_be_hidden()
    assert [each["text"] for each in only(server).heard if each["type"] == "text"] == [
        "The sky is blue because air scatters light."
    ]


async def test_captions_are_read_out_as_whole_sentences(server: FakeServer, open_page: OpenPage) -> None:
    spy = """
        window.addEventListener("DOMContentLoaded", () => {
            window.readOut = [];
            const live = document.getElementById("announcer");
            new MutationObserver((changes) => {
                for (const { addedNodes } of changes) window.readOut.push(...[...addedNodes].map((n) => n.textContent));
            }).observe(live, { childList: true });
        });
    """
    page = await open_page(server.url, before=spy)
    await start(page)
    await page.fill("#text", "One two three.")
    await page.press("#text", "Enter")
    await expect(page.locator(".bubble.tutor:not(.speaking) .said")).to_have_text("One two three.")
    spoken = await page.evaluate("() => window.readOut")
    assert spoken.count("Tutor: One two three.") == 1
    assert not any(text in ("Tutor: One", "Tutor: One two") for text in spoken)
    assert await page.locator("#captions").get_attribute("aria-hidden") == "true"


async def test_a_long_message_is_folded_and_one_too_long_is_kept(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    await page.focus("#text")
    await page.keyboard.insert_text("word " * 1200)
    await page.keyboard.press("Enter")
    await expect(page.locator(".toast")).to_contain_text("That is too long: 5999 characters")
    assert len(await page.input_value("#text")) == 6000
    await page.fill("#text", "top" + "\n" * 40 + "word " * 200)
    await page.press("#text", "Enter")
    said = page.locator(".bubble.student .said")
    assert await said.text_content() == "top\n\n" + ("word " * 200).strip()
    folded = (await said.bounding_box() or {})["height"]
    assert folded < 180
    await page.click(".more")
    await expect(page.locator(".more")).to_have_text("Show less")
    assert (await said.bounding_box() or {})["height"] > 2 * folded
    await page.fill("#text", "\u200b\u200b")
    await page.press("#text", "Enter")
    await expect(page.locator(".bubble.student")).to_have_count(1)


async def test_interrupting_keeps_what_was_heard(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    for number, way in enumerate((lambda: page.click("#interrupt"), lambda: page.keyboard.press("Escape"))):
        server.gate = asyncio.Semaphore(3)
        await page.fill("#text", " ".join(f"word{index}" for index in range(60)))
        await page.press("#text", "Enter")
        await expect(page.locator("#captions .now")).to_have_text("word2")
        await way()
        await expect(page.locator(".bubble.tutor .mark")).to_have_text(["interrupted"] * (number + 1))
        assert await page.locator(".bubble.tutor .said").nth(number).inner_text() == "word0 word1 word2"
        await expect(page.locator("#interrupt")).to_be_disabled()
        await expect(page.locator("#captions")).to_be_hidden()


async def test_a_deep_link_chooses_the_tutor(server: FakeServer, open_page: OpenPage) -> None:
    server.avatars["mr-okafor"] = server.record("mr-okafor", "ready", 1.0, "done")
    server.avatars["not-yet"] = server.record("not-yet", "preparing", 0.2, "decoding")
    page = await open_page(f"{server.url}/?tutor=mr-okafor")
    await expect(page.locator("#start-words")).to_have_text("Start with Mr Okafor")
    await expect(page.locator(".card")).to_have_count(2)  # the unfinished one is not offered
    await page.goto(f"{server.url}/?avatar=not-yet")
    await expect(page.locator(".toast")).to_contain_text("isn't here")


async def test_the_keyboard_alone_is_enough(server: FakeServer, open_page: OpenPage) -> None:
    server.avatars["mr-okafor"] = server.record("mr-okafor", "ready", 1.0, "done")
    page = await open_page(server.url)
    await page.locator(".card").first.wait_for()
    order: list[str] = []
    for _ in range(8):
        await page.keyboard.press("Tab")
        order.append(await page.evaluate("() => document.activeElement.id || document.activeElement.value || ''"))
        if order[-1] == "ms-chen":
            break
    assert {"language", "theme", "start"} <= set(order)
    await page.keyboard.press("ArrowDown")
    await expect(page.locator("#start-words")).to_have_text("Start with Mr Okafor")
    await page.keyboard.press("Enter")
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)
    await expect(page.locator("#text")).to_be_focused()
    assert only(server).avatar_id == "mr-okafor"


async def test_no_tutor_leads_to_the_teacher_page(server: FakeServer, open_page: OpenPage) -> None:
    server.avatars.clear()
    page = await open_page(server.url)
    await expect(page.locator(".empty a")).to_have_attribute("href", "/teacher")
    await expect(page.locator("#start")).to_be_hidden()


async def test_a_full_server_counts_down_and_tries_again(server: FakeServer, open_page: OpenPage) -> None:
    server.refuse_session = [lambda: refuse(503, "at_capacity", "Full.", **{"Retry-After": "2"})]
    page = await open_page(server.url)
    await page.click("#start")
    await expect(page.locator("#notice-title")).to_have_text("All seats are taken")
    await expect(page.locator("#notice-count")).to_have_text("Trying again in 1 s")
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)
    await expect(page.locator("#notice")).to_be_hidden()


async def test_refusals_are_explained_and_can_be_retried(server: FakeServer, open_page: OpenPage) -> None:
    cases = {
        ("not_found", 404): "This tutor doesn't exist any more.",
        ("not_ready", 409): "still being prepared",
        ("moon_is_full", 422): "The moon is full tonight.",  # unknown to the page: the server's own sentence
        ("unauthorized", 401): "You don't have access",
    }
    page = await open_page(server.url)
    await page.locator("#start").wait_for()
    for (code, status), words in cases.items():
        server.refuse_session = [lambda code=code, status=status: refuse(status, code, "The moon is full tonight.")]
        await page.locator("#start, #notice-retry").locator("visible=true").click()
        await expect(page.locator("#notice-text")).to_contain_text(words)
        await expect(page.locator("#status-words")).to_have_text("Not connected")
    await page.click("#notice-retry")
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)


async def test_one_bad_second_is_not_a_weak_connection(server: FakeServer, open_page: OpenPage) -> None:
    losses = """
        window.bad = 0;
        window.lost = 0;
        window.looks = 0;
        const well = { totalFreezesDuration: 0, concealedSamples: 0 };  // whatever a busy machine does
        const ask = RTCPeerConnection.prototype.getStats;
        RTCPeerConnection.prototype.getStats = async function () {
            if (window.bad > 0) { window.bad -= 1; window.lost += 1000; }
            window.looks += 1;
            return new Map([...(await ask.call(this))].map(([id, report]) => [
                id, report.type === "inbound-rtp" ? { ...report, packetsLost: window.lost, ...well } : report,
            ]));
        };
        window.addEventListener("DOMContentLoaded", () => {
            window.states = [];
            const words = document.getElementById("status-words");
            new MutationObserver(() => window.states.push(words.textContent)).observe(words, { childList: true });
        });
    """
    page = await open_page(server.url, before=losses)
    await start(page)
    await page.wait_for_function("() => window.looks >= 1")
    for bad, weak in ((1, False), (2, True)):
        await page.evaluate("(bad) => { window.states.length = 0; window.bad = bad; window.looks = 0; }", bad)
        await page.wait_for_function("() => window.looks >= 5")
        assert ("Weak connection" in await page.evaluate("() => window.states")) is weak
    await expect(page.locator("#status-words")).to_have_text("Live")


async def test_a_broken_channel_comes_back(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    before = await stats(page)
    old = set(only(server).sockets)
    await server.cut_sockets()
    await until(lambda: only(server).sockets and not only(server).sockets & old)
    await expect(page.locator("#status-words")).to_have_text("Live")
    await page.fill("#text", "Still here.")
    await page.press("#text", "Enter")
    await expect(page.locator(".bubble.tutor .said")).to_have_text("Still here.")
    after = await stats(page)
    assert after["frames"] > before["frames"]  # the picture was never rebuilt
    assert len(server.created) == 1


async def test_a_server_that_restarts_is_found_again(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    await server.stop()
    await expect(page.locator("#status-words")).to_have_text("Reconnecting…")
    # Only come back once the page has found nobody there.
    await page.wait_for_event("requestfailed")
    await server.listen()
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)
    assert len(server.created) == 2
    await grows(page, "frames", 5)


async def test_a_session_ended_by_the_server_says_so(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    await server.drop(only(server), code=1001)
    await expect(page.locator("#notice-title")).to_have_text("The session was closed")
    await expect(page.locator("#status-words")).to_have_text("Ended")
    await page.click("#notice-retry")
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)


async def test_a_dead_picture_is_rebuilt(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    session = only(server)
    (old,) = session.peers
    for sender in session.peers[old].getSenders():
        await sender.stop()  # nothing arrives any more, and nobody says why
    await until(lambda: len(session.peers) == 1 and old not in session.peers, limit=15)
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)
    assert len(server.created) == 1
    await grows(page, "frames", 5)


async def test_sound_that_needs_a_touch_is_asked_for(server: FakeServer, open_page: OpenPage) -> None:
    blocked = """
        const play = HTMLMediaElement.prototype.play;
        HTMLMediaElement.prototype.play = function () {
            return this.muted || window.touched ? play.call(this)
                : Promise.reject(new DOMException("no", "NotAllowedError"));
        };
        document.addEventListener("click", (event) => {
            if (event.target.closest("#unlock")) window.touched = true;
        }, true);
        document.addEventListener("DOMContentLoaded", () => {
            document.getElementById("video").removeAttribute("autoplay");
        });
    """
    page = await open_page(server.url, before=blocked)
    await start(page)
    await expect(page.locator("#unlock")).to_have_text("Tap to start sound")
    await grows(page, "frames", 5)  # the picture is there already, without sound
    assert await page.evaluate("() => document.getElementById('video').muted")
    await page.click("#unlock")
    await expect(page.locator("#unlock")).to_be_hidden()
    assert not await page.evaluate("() => document.getElementById('video').muted")
    await grows(page, "currentTime", 0.3)


async def test_leaving_frees_the_session_at_once(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    await page.click("#leave")
    await expect(page.locator("#notice-title")).to_have_text("The conversation has ended")
    await until(lambda: not server.sessions)
    await page.click("#notice-retry")
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)
    await page.goto("about:blank")
    await until(lambda: not server.sessions)
    assert server.created == server.ended


async def test_mute_volume_and_captions_switches(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    await page.click("#mute")
    await expect(page.locator("#mute")).to_have_attribute("aria-pressed", "true")
    assert await page.evaluate("() => document.getElementById('video').muted")
    await page.click("#mute")
    await page.fill("#volume", "40")
    assert await page.evaluate("() => document.getElementById('video').volume") == pytest.approx(0.4)
    await page.click("#cc")
    await page.fill("#text", "Silent words.")
    await page.press("#text", "Enter")
    await expect(page.locator(".bubble.tutor .said")).to_have_text("Silent words.")
    await expect(page.locator("#captions")).to_be_hidden()


async def test_speech_troubles_are_told_and_the_talk_goes_on(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    fallback = "The voice edge:ru-RU-SvetlanaNeural does not answer; hibari:heart speaks instead."
    await server.tell(only(server), type="error", code="voice_fallback", message=fallback)
    await expect(page.locator(".toast")).to_have_text("The usual voice is away; another one goes on.")
    await server.tell(only(server), type="error", code="model_busy", message="I have too many questions right now.")
    await expect(page.locator(".toast").nth(1)).to_have_text("I have too many questions right now.")
    await expect(page.locator("#status-words")).to_have_text("Live")


async def test_what_no_voice_can_say_is_marked_under_the_message(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    server.cannot_say = ["Привет,  мир", "你好" * 60]
    await page.fill("#text", "One two three.")
    await page.press("#text", "Enter")
    mark = page.locator(".bubble.student .unsaid")
    await expect(mark).to_have_count(1)
    words = await mark.inner_text()
    assert words.startswith("Not said aloud, because no voice here can: “Привет, мир 你好你好")
    assert len(words.split("“")[1].rstrip("”")) == 80
    assert words.endswith("…”")
    await expect(page.locator(".bubble.tutor:not(.speaking)")).to_have_count(1)
    server.cannot_say = []
    await page.fill("#text", "All of this can be said.")
    await page.press("#text", "Enter")
    await expect(page.locator(".bubble.tutor:not(.speaking)")).to_have_count(2)
    await expect(mark).to_have_count(1)  # it lasts, and is not the next message's
    await page.click("#language")
    await expect(mark).to_contain_text("这里的语音无法读出")
    await expect(page.locator(".toast")).to_have_count(0)


async def test_what_cannot_be_said_of_nobodys_message_is_told_too(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    session = only(server)

    async def tell(utterance: str, text: str, *kinds: str) -> None:
        for kind in kinds:
            more = {"reason": "finished", "position": 0.0, "heard": "Good"} if kind == "speech_ended" else {}
            more |= {"code": "cannot_say", "details": {"text": text}} if kind == "error" else {}
            await server.tell(session, type=kind, utterance_id=utterance, generation=0, **more)

    await tell("u7", "Бонжур", "error", "speech_started", "speech_ended")  # a school's own say
    await expect(page.locator(".bubble.tutor .unsaid")).to_contain_text("Бонжур")
    await expect(page.locator(".bubble.tutor .said")).to_have_text("Good")
    await tell("u8", "Бонжур", "error", "speech_ended")  # nothing of it was heard: there is no bubble
    await expect(page.locator(".toast")).to_contain_text("No voice here can say part of the text")


async def test_the_sample_tutor_is_called_as_a_person_would(server: FakeServer, open_page: OpenPage) -> None:
    server.avatars = {"sample": server.record("sample", "ready", 1.0, "done", tutor_id="sample")}
    page = await open_page(server.url)
    await expect(page.locator("#start-words")).to_have_text("Start with the sample tutor")
    await expect(page.locator(".card-name")).to_have_text("Sample tutor")
    await page.click("#language")
    await expect(page.locator("#start-words")).to_have_text("开始与示例导师对话")
    await expect(page.locator(".card-name")).to_have_text("示例导师")
    server.avatars = {"sample": server.record("sample", "ready", 1.0, "done", tutor_id="Dr. Sample")}
    await page.reload()
    await expect(page.locator(".card-name")).to_have_text("Dr. Sample")  # somebody's own
    server.avatars = {"sample": server.record("sample", "ready", 1.0, "done", tutor_id="sample", tutor_name="Dr. 陈")}
    await page.reload()
    await expect(page.locator(".card-name")).to_have_text("Dr. 陈")  # a tutor of the school's


async def test_chinese_by_the_browser_and_by_the_switch(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url, locale="zh-CN")
    await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    await expect(page.locator("#start-words")).to_have_text("开始与 Ms Chen 对话")
    await start(page, "实时连线中")
    await page.fill("#text", "天空 为什么 是 蓝色 的？")
    await page.press("#text", "Enter")
    await expect(page.locator("#captions p")).to_have_text("天空为什么是蓝色的？")
    await page.click("#language")
    await expect(page.locator("#status-words")).to_have_text("Live")
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("lang", "en")


async def test_typing_chinese_does_not_send_too_early(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    await page.fill("#text", "ni hao")
    await page.dispatch_event("#text", "keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    await expect(page.locator("#text")).to_have_value("ni hao")
    await page.press("#text", "Enter")
    await expect(page.locator("#text")).to_have_value("")


async def test_fits_a_phone_in_both_themes(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(
        server.url, viewport={"width": 360, "height": 740}, color_scheme="light", has_touch=True, is_mobile=True
    )
    await expect(page.locator("html")).to_have_attribute("data-theme", "light")
    await page.emulate_media(color_scheme="dark")
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await start(page)
    assert await page.evaluate("() => document.documentElement.scrollWidth") <= 360
    for name in ("#interrupt", "#mute", "#leave", "#send"):
        box = await page.locator(name).bounding_box()
        assert box is not None
        assert box["width"] >= 40
        assert box["height"] >= 40
        assert box["x"] + box["width"] <= 360
        assert box["y"] + box["height"] <= 740


async def test_a_token_that_expired_while_the_computer_slept(server: FakeServer, open_page: OpenPage) -> None:
    """The session is long gone by then, or will be: a new one takes its place."""
    page = await open_page(server.url)
    await start(page)
    session = only(server)
    session.good[session.token] = False
    await server.cut_sockets()
    await until(lambda: len(server.created) == 2, 20.0)
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=20_000)
