"""The pages' small pure parts, run inside Chromium: captions, ids, link quality, words in both languages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from avatars.errors import MESSAGES
from avatars.quality import _SENTENCES as SENTENCES
from server.listening import REASONS
from tests.pages.fake_server import STATIC, FakeServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """One page for all: they only call functions of its modules."""
    async with FakeServer() as server:
        opened = await browser.new_page()
        await opened.goto(server.url)
        yield opened
        await opened.close()


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="module")
async def test_caption_lines_fill_and_begin_anew(page: Page) -> None:
    seen = await page.evaluate(
        """async () => {
            const { CaptionLine, join } = await import("/static/js/captions.js");
            const line = new CaptionLine(12);
            const shown = [];
            for (const [index, word] of ["One", "two", "three", "four,"].entries()) {
                line.add({ utterance_id: "a", index, word });
                line.add({ utterance_id: "a", index, word }); // heard twice, shown once
                shown.push(join(line.words));
            }
            line.add({ utterance_id: "b", index: 0, word: "Next" });
            return [...shown, join(line.words), join(["天空", "是", "blue", "。"])];
        }"""
    )
    assert seen == ["One", "One two", "three", "three four,", "Next", "天空是blue。"]


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="module")
async def test_the_link_is_judged_by_what_arrived(page: Page) -> None:
    verdicts = await page.evaluate(
        """async () => {
            const { judge } = await import("/static/js/link.js");
            const none = { at: 0, packets: 0, lost: 0, frames: 0, frozen: 0, audioPackets: 0, audioEnergy: 0,
                           concealed: 0, samples: 0 };
            const good = { ...none, at: 1000, packets: 200, frames: 25, audioPackets: 50, samples: 48000 };
            return [
                judge(none, good), judge(none, { ...good, lost: 40 }), judge(none, { ...good, frozen: 0.5 }),
                judge(none, { ...good, concealed: 9000 }), judge(good, { ...good, at: 2000 }),
                judge(none, { ...none, at: 1000, audioPackets: 50 }),
            ];
        }"""
    )
    assert verdicts == ["good", "weak", "weak", "weak", "silent", "good"]


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="module")
async def test_a_link_is_weak_after_two_bad_looks_in_a_row(page: Page) -> None:
    seen = await page.evaluate(
        """async () => {
            const { LinkWatch } = await import("/static/js/link.js");
            const now = { at: 0, packets: 0, lost: 0, frames: 0, frozen: 0, audioPackets: 0, audioEnergy: 0,
                          concealed: 0, samples: 0 };
            const watch = new LinkWatch();
            const said = [];
            for (const kind of ["good", "good", "bad", "good", "bad", "bad", "bad", "good", "silent", "silent"]) {
                now.at += 1000;
                if (kind !== "silent") { now.packets += 200; now.audioPackets += 50; now.samples += 48000; }
                if (kind === "bad") now.lost += 40;
                watch.add({ ...now });
                said.push(watch.weak);
            }
            return [said, watch.silent];
        }"""
    )
    assert seen == [[False] * 5 + [True, True, False, False, True], 2]


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="module")
async def test_waiting_grows_and_has_a_ceiling(page: Page) -> None:
    waits = await page.evaluate(
        """async () => {
            const { delay } = await import("/static/js/backoff.js");
            return [0, 1, 2, 3, 4, 5, 9].map((attempt) => delay(attempt, 0.5)).concat(delay(9, 1));
        }"""
    )
    assert waits == [400, 800, 1600, 3200, 6400, 8000, 8000, 10000]


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="module")
async def test_sizes_have_the_unit_that_suits_them(page: Page) -> None:
    shown = await page.evaluate(
        """async () => {
            const { size, sizes } = await import("/static/js/bytes.js");
            const part = sizes(1_200, 45_678);
            return [0, 99, 999, 1_000, 45_678, 999_600, 6_291_456, 2_500_000_000].map(size)
                .concat(`${part.done} of ${part.total} ${part.unit}`);
        }"""
    )
    assert shown == ["0 B", "99 B", "999 B", "1 kB", "46 kB", "1.0 MB", "6.3 MB", "2.5 GB", "1 of 46 kB"]


def test_both_languages_have_every_sentence() -> None:
    def entries(language: str) -> dict[str, str]:
        found: list[tuple[str, str]] = []
        for path in sorted((STATIC / "js" / "strings").glob(f"*{language}.js")):
            found += re.findall(r'^  "([^"]+)": "(.*)",$', path.read_text(), re.MULTILINE)
        assert len(found) == len(dict(found)), "a key stands in two files"
        return dict(found)

    english, chinese = entries("en"), entries("zh")
    assert len(english) > 150
    assert english.keys() == chinese.keys()
    for key, words in english.items():
        assert set(re.findall(r"\{\w+\}", words)) == set(re.findall(r"\{\w+\}", chinese[key])), key

    used = set()
    for path in [*Path(STATIC).glob("*.html"), *Path(STATIC, "js").glob("*.js")]:
        text = path.read_text()
        used |= set(re.findall(r'\bt\("([a-z]+\.[\w.]+)"', text))
        if path.suffix != ".html":
            continue
        used |= set(re.findall(r'data-i18n="([^"]+)"', text))
        for pairs in re.findall(r'data-i18n-attr="([^"]+)"', text):
            used |= {pair.split(":")[1] for pair in pairs.split(";")}
    assert used - english.keys() == set()


def test_every_reason_of_the_avatar_builder_has_words_in_both_languages() -> None:
    names = (STATIC / "js" / "errors.js").read_text()
    keys = set(re.findall(r'^  "([^"]+)": ', (STATIC / "js" / "strings" / "zh.js").read_text(), re.MULTILINE))
    about_requests = {"forbidden_path", "no_such_file"}  # of POST /v1/avatars, which the pages do not use
    for code in {*MESSAGES, *SENTENCES} - about_requests:
        known = {f"quality.{code}", f"error.{code}"} & keys or f"  {code}: " in names
        assert known, code


def test_every_reason_for_typing_only_has_words_in_both_languages() -> None:
    for language in ("en.js", "zh.js"):
        text = (STATIC / "js" / "strings" / language).read_text()
        assert {code for code in REASONS if f'"mic.unavailable.{code}": "' in text} == REASONS.keys(), language


def test_pages_keep_to_the_security_policy() -> None:
    for path in Path(STATIC).glob("*.html"):
        text = path.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r"<style|\sstyle=|\son\w+=|https?://", text)
