"""The teacher page against the stand-in server: a clip in, by any way; checks, preview, list; and what can fail."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.pages.clips import webm
from tests.pages.conftest import OpenPage
from tests.pages.fake_server import FakeServer, draw, jpeg, refuse
from tests.pages.waiting import stop_clock, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

CLIP = {"name": "me.webm", "mimeType": "video/webm", "buffer": webm()}


async def fill(page: Page, name: str = "Ada Lovelace", clip: Any = None) -> None:
    await page.set_input_files("#file", clip or CLIP)
    await page.fill("#name", name)
    await page.check("#consent")


async def test_nothing_is_sent_without_consent(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(f"{server.url}/teacher")
    await expect(page.locator("#missing")).to_have_text("Choose or record a clip first.")
    await page.set_input_files("#file", CLIP)
    await expect(page.locator("#missing")).to_have_text("Give the tutor a name.")
    await page.fill("#name", "Ada Lovelace")
    await expect(page.locator("#missing")).to_contain_text("confirm permission")
    await expect(page.locator("#create")).to_be_disabled()
    await page.press("#name", "Enter")  # the keyboard's way around a disabled button
    await page.check("#consent")
    await expect(page.locator("#create")).to_be_enabled()
    await page.uncheck("#consent")
    await expect(page.locator("#create")).to_be_disabled()
    assert server.uploads == []


async def test_upload_checks_preview_and_delete(server: FakeServer, open_page: OpenPage) -> None:
    server.build = [
        {"stage": "checking", "progress": 0.2},
        {"stage": "finding_face", "progress": 0.5},
        {
            "stage": "done",
            "progress": 1.0,
            "state": "ready",
            "quality": {
                "ok": True,
                "findings": [{"code": "dark", "severity": "warning", "message": "Rather dark: 38 of 255."}],
            },
        },
    ]
    page = await open_page(f"{server.url}/teacher")
    await fill(page)
    await expect(page.locator("#chosen-video")).to_be_visible()
    await expect(page.locator("#id")).to_have_value("ada-lovelace")
    await page.locator("#blur").focus()
    await page.keyboard.press("Space")
    await page.click("#create")
    await expect(page.locator("#work-title")).to_have_text("Ada Lovelace is ready")
    (form,) = server.uploads
    assert form["avatar_id"] == "ada-lovelace"
    assert form["tutor_id"] == "Ada Lovelace"
    assert (form["apply_blur"], form["consent"]) == ("true", "true")
    assert form["bytes"] == len(CLIP["buffer"])
    await expect(page.locator("#check-list .warning")).to_have_text("Rather dark: 38 of 255.")
    await expect(page.locator("#open")).to_have_attribute("href", "/?tutor=ada-lovelace")

    await page.fill("#sentence", "Good morning dear class.")
    server.gate = asyncio.Semaphore(2)
    await page.click("#say")
    await expect(page.locator("#captions .now")).to_have_text("morning", timeout=15_000)
    await expect(page.locator("#stage.playing")).to_be_visible()
    await expect(page.locator("#stage .chip")).to_have_text("This is an AI avatar")
    (session,) = server.sessions.values()
    assert {"type": "say", "text": "Good morning dear class."} in session.heard

    item = page.locator('.item[data-id="ada-lovelace"]')
    await expect(item.locator(".badge")).to_have_text("Ready")
    await item.get_by_label("Delete Ada Lovelace").click()
    await page.keyboard.press("Escape")  # not that easily
    assert "ada-lovelace" in server.avatars
    await item.get_by_label("Delete Ada Lovelace").click()
    await page.click("#confirm [value=yes]")
    await expect(item).to_have_count(0)
    assert "ada-lovelace" not in server.avatars  # although its own preview was speaking
    await expect(page.locator("#bench")).to_be_visible()


async def test_progress_is_shown_and_an_upload_can_be_cancelled(
    server: FakeServer, open_page: OpenPage, tmp_path: Path
) -> None:
    server.upload_pause = 0.3
    page = await open_page(f"{server.url}/teacher")
    big = tmp_path / "long.mp4"
    with big.open("wb") as file:
        file.truncate(60 << 20)  # more than sockets take at once
    await fill(page, clip=big)
    await page.click("#create")
    await expect(page.locator("#bar-words")).to_contain_text("of 62.9 MB")
    await expect(page.locator(".step.now")).to_have_text("Uploading")
    await page.click("#cancel")
    await expect(page.locator("#bench")).to_be_visible()
    await expect(page.locator("#name")).to_have_value("Ada Lovelace")  # nothing has to be typed again
    await expect(page.locator("#create")).to_be_enabled()
    assert server.uploads == []


async def test_steps_follow_the_build(server: FakeServer, open_page: OpenPage) -> None:
    server.build = [{"stage": "preparing_engine", "progress": 0.6}]
    server.build_pause = 0.05
    page = await open_page(f"{server.url}/teacher")
    await fill(page)
    await page.click("#create")
    await expect(page.locator(".step.now")).to_have_text("Preparing the face")
    await expect(page.locator("#bar-percent")).to_have_text("64 %")
    await expect(page.locator('.item[data-id="ada-lovelace"] .badge')).to_contain_text("Preparing")


async def test_the_bar_tells_only_what_is_known(server: FakeServer, open_page: OpenPage) -> None:
    server.build_gate = asyncio.Semaphore(0)
    server.build = [
        {"stage": "decoding", "progress": 0.02},
        {"stage": "decoding", "progress": 0.004},
        {"stage": "finding_face", "progress": 0.5},
    ]
    page = await open_page("about:blank")
    await stop_clock(page)
    await page.goto(f"{server.url}/teacher")
    await page.evaluate(
        """() => {
            window.values = [];
            const bar = document.getElementById("bar");
            const see = () => bar.hasAttribute("value") && window.values.push(bar.value);
            new MutationObserver(see).observe(bar, { attributes: true });
        }"""
    )
    await fill(page)
    await page.click("#create")
    await expect(page.locator("#bar-words")).to_have_text("Waiting for its turn…")
    await expect(page.locator("#bar-percent")).to_have_text("")
    assert await page.evaluate("() => document.getElementById('bar').position") == -1  # no measure
    await page.clock.run_for(7_500)
    await expect(page.locator("#bar-words")).to_have_text("Waiting for its turn… · 7 s")
    server.build_gate.release()
    await expect(page.locator(".step.now")).to_have_text("Reading the clip")
    await expect(page.locator("#bar-percent")).to_have_text("11 %")
    seen = len(server.told)
    server.build_gate.release()
    await until(lambda: len(server.told) > seen)
    server.build_gate.release()
    await expect(page.locator(".step.now")).to_have_text("Finding the face")
    await expect(page.locator("#bar-words")).to_have_text("Finding the face")
    values = await page.evaluate("() => window.values")
    assert values == sorted(values)  # it never goes back
    assert values[-1] == pytest.approx(0.1 + 0.9 * 0.5)
    await page.clock.run_for(4_000)
    await expect(page.locator("#bar-words")).to_have_text("Finding the face · 4 s")
    await expect(page.locator("#leave-hint")).to_contain_text("leave this page now")


async def test_upright_clips_have_no_black_sides(server: FakeServer, open_page: OpenPage) -> None:
    tall = draw(0, 0)[:, 160:320]  # 160 x 270
    server.preview = jpeg(tall)
    server.draw = lambda phase, mouth: draw(phase, mouth)[:, 160:320]
    for size in ({"width": 1280, "height": 800}, {"width": 390, "height": 844}):
        page = await open_page(f"{server.url}/teacher", viewport=size)
        name = f"Tall {size['width']}"
        await fill(page, name, {"name": "me.jpg", "mimeType": "image/jpeg", "buffer": jpeg(tall)})
        boxes = [await page.locator("#chosen-frame").bounding_box()]
        await page.click("#create")
        await expect(page.locator("#work-title")).to_have_text(f"{name} is ready")
        await expect(page.locator("#stage")).to_have_attribute("data-shape", "tall")
        boxes.append(await page.locator("#stage").bounding_box())
        await page.click("#say")
        await expect(page.locator("#stage.playing")).to_be_visible(timeout=15_000)
        boxes.append(await page.locator("#stage").bounding_box())
        for box in boxes:
            assert box is not None
            assert box["width"] / box["height"] == pytest.approx(160 / 270, rel=0.02)
            assert box["height"] > 350


async def test_a_clip_that_fails_says_why_in_the_readers_language(server: FakeServer, open_page: OpenPage) -> None:
    why = {"code": "several_faces", "message": "There are two of you."}
    server.build = [{"stage": "finding_face", "progress": 0.3, "state": "failed", "error": why}]
    page = await open_page(f"{server.url}/teacher")
    await fill(page)
    await page.click("#create")
    await expect(page.locator("#check-list .error")).to_have_text("There are two of you.")
    await page.click("#language")
    await expect(page.locator("#check-list .error")).to_have_text("画面中有多张人脸，只能有一个人。")
    await expect(page.locator('.item[data-id="ada-lovelace"].failed')).to_be_visible()
    await page.click("#more")
    await expect(page.locator("#drop")).to_be_visible()
    await fill(page)
    await expect(page.locator("#id")).to_have_value("ada-lovelace")  # a failed one may be replaced
    await expect(page.locator("#create")).to_be_enabled()


async def test_refused_uploads_are_explained_and_keep_the_form(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(f"{server.url}/teacher")
    await fill(page)
    for status, code, words in (
        (413, "too_large", "too large"),
        (507, "disk_full", "run out of space"),
        (422, "unreadable", "can't be read"),
    ):
        server.refuse_upload = [lambda status=status, code=code: refuse(status, code, "no")]
        await page.click("#create")
        await expect(page.locator("#check-list .error")).to_contain_text(words)
        await page.click("#more")
        await expect(page.locator("#name")).to_have_value("Ada Lovelace")
        if code == "disk_full":  # the clip is as good as before
            await expect(page.locator("#create")).to_be_enabled()
        else:
            await expect(page.locator("#drop")).to_be_visible()
            await fill(page)
    assert server.uploads == []


async def test_files_that_are_no_clips_are_refused_at_once(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(f"{server.url}/teacher")
    await page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"words"})
    await expect(page.locator("#clip-error")).to_contain_text("doesn't look like a video")
    await page.set_input_files("#file", {"name": "none.mp4", "mimeType": "video/mp4", "buffer": b""})
    await expect(page.locator("#clip-error")).to_contain_text("empty")
    await page.set_input_files("#file", {"name": "odd.mkv", "mimeType": "video/x-matroska", "buffer": bytes(99)})
    await expect(page.locator("#chosen-none")).to_be_visible()  # the browser can't show it; the server may read it
    picture = {"name": "me.jpg", "mimeType": "image/jpeg", "buffer": jpeg(draw(0, 0))}
    await page.set_input_files("#file", picture)
    await expect(page.locator("#chosen-image")).to_be_visible()


async def test_ids_are_proposed_checked_and_unique(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(f"{server.url}/teacher")
    await page.locator('.item[data-id="ms-chen"]').wait_for()
    for name, proposal in (("Dr. Zoë Müller", "dr-zoe-muller"), ("Ms Chen", "ms-chen-2"), ("../../etc", "etc")):
        await page.fill("#name", name)
        await expect(page.locator("#id")).to_have_value(proposal)
    await page.fill("#name", "陈老师")
    assert (await page.input_value("#id")).startswith("tutor-")
    await page.fill("#id", "ms-chen")
    await expect(page.locator("#id-error")).to_contain_text("exists already")
    await page.fill("#id", "a/b")
    await expect(page.locator("#id-error")).to_contain_text("letters, digits")
    await expect(page.locator("#id")).to_have_attribute("aria-invalid", "true")


async def test_a_clip_can_be_dropped(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(f"{server.url}/teacher")
    data = await page.evaluate_handle(
        """(text) => {
            const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "dropped.webm", { type: "video/webm" }));
            return data;
        }""",
        base64.b64encode(CLIP["buffer"]).decode(),
    )
    await page.dispatch_event("#drop", "dragenter", {"dataTransfer": data})
    await expect(page.locator("#drop-title")).to_have_text("Let go to use this file")
    await page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    await expect(page.locator("#chosen-name")).to_contain_text("dropped.webm")
    await expect(page.locator("#chosen-video")).to_be_visible()


async def test_a_clip_can_be_recorded(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(f"{server.url}/teacher")
    await page.locator('.item[data-id="ms-chen"]').wait_for()
    await stop_clock(page)
    await page.click("#record")
    await expect(page.locator("#recorder-words")).to_contain_text("outline")
    await page.click("#recorder-go")
    await expect(page.locator("#count")).to_have_text("3")
    for count in ("2", "1"):
        await page.clock.run_for(900)
        await expect(page.locator("#count")).to_have_text(count)
    await page.clock.run_for(900)
    await expect(page.locator("#recorder-words")).to_contain_text("Sit still")
    await expect(page.locator("#recorder-go")).to_have_text("Stop")
    await camera_moves(page)
    await page.clock.run_for(12_500)
    await expect(page.locator("#chosen-name")).to_contain_text("recording.")
    assert await page.evaluate("() => document.getElementById('camera').srcObject") is None  # the camera is off
    await page.fill("#name", "Ada")
    await page.check("#consent")
    await page.click("#create")
    await expect(page.locator("#work")).to_be_visible()
    await until(lambda: server.uploads)
    assert server.uploads[0]["bytes"] > 1000
    assert server.uploads[0]["file_name"] in ("recording.webm", "recording.mp4")


async def camera_moves(page: Page) -> None:
    """Wait until the camera has delivered a second of pictures, in its own time."""
    clock = "() => document.getElementById('camera').currentTime"
    first = await page.evaluate(clock)

    async def moved() -> bool:
        return bool(await page.evaluate(clock) > first + 1)

    await until(moved)


async def test_a_forbidden_camera_is_explained(server: FakeServer, open_page: OpenPage) -> None:
    deny = """
        navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    """
    page = await open_page(f"{server.url}/teacher", before=deny)
    await page.click("#record")
    await expect(page.locator("#clip-error")).to_contain_text("camera isn't allowed")
    await expect(page.locator("#drop")).to_be_visible()


async def test_the_list_recovers_when_the_server_was_away(server: FakeServer, open_page: OpenPage) -> None:
    server.refuse_list = [refuse(500, "internal_error", "Oh.")]
    page = await open_page("about:blank")
    await stop_clock(page)
    await page.goto(f"{server.url}/teacher")
    await expect(page.locator("#library-note")).to_have_text("Something went wrong on the server. Please try again.")
    await page.clock.run_for(5_100)
    await expect(page.locator(".item")).to_have_count(1)
    await expect(page.locator("#library-note")).to_be_hidden()


async def test_a_tutor_in_use_is_not_deleted(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(f"{server.url}/teacher")
    student = await open_page(server.url)
    await student.click("#start")
    await expect(student.locator("#status-words")).to_have_text("Live", timeout=15_000)
    await page.get_by_label("Delete Ms Chen").click()
    await page.click("#confirm [value=yes]")
    await expect(page.locator(".toast")).to_contain_text("talking with this tutor right now")
    await expect(page.locator('.item[data-id="ms-chen"]')).to_be_visible()


async def test_fits_a_phone_in_both_languages(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(
        f"{server.url}/teacher", viewport={"width": 360, "height": 740}, locale="zh-CN", has_touch=True, is_mobile=True
    )
    await page.locator(".item").wait_for()
    for lang in ("zh-CN", "en"):
        await expect(page.locator("html")).to_have_attribute("lang", lang)
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= 360
        await page.click("#language")


async def test_a_server_with_a_key_asks_for_it_once(server: FakeServer, open_page: OpenPage) -> None:
    server.key = "open sesame"
    page = await open_page(f"{server.url}/teacher")
    await page.fill("#key", "guess")
    await page.keyboard.press("Enter")
    await expect(page.locator("#access-wrong")).to_be_visible()
    await page.fill("#key", "open sesame")
    await page.keyboard.press("Enter")
    await expect(page.locator('.item[data-id="ms-chen"] img')).to_be_visible()
    await fill(page)
    await page.click("#create")
    await expect(page.locator("#work-title")).to_have_text("Ada Lovelace is ready")
    await page.click("#say")
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)
    await page.goto(server.url)
    await expect(page.locator(".card")).to_have_count(2)
