"""Both pages against the real server: a clip that becomes a tutor, a face that speaks, a dialogue by voice."""

from __future__ import annotations

import os
import re
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from avatars.errors import AvatarError
from avatars.models import ModelsMissing, find
from pipeline.voices.hibari_model import HibariModel
from server.app import build_app
from server.keys import SESSIONS, STORE
from server.sample import PICTURE
from server.settings import Settings
from tests.conversation.model_server import ModelServer, Switches, model_server
from tests.needs import NO_WHISPER, missing, whisper_folder
from tests.pages.clips import beginning
from tests.pages.conftest import OpenPage, chromium
from tests.pages.waiting import grows, stats, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

SHARED = Path(os.environ.get("LECTERN_SHARED") or Path(__file__).resolve().parents[2].parent / "shared")
CLIP = SHARED / "media" / "idle-woman-1280x720-30fps.mp4"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[web.Application, str]]:
    """The server as `make run` starts it, without the sample tutor; and its address."""
    async with serving(tmp_path_factory.mktemp("real") / "avatars") as served:
        yield served


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[tuple[web.Application, str]]:
    try:
        find()
    except ModelsMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{error}")
    access = {"keys_file": folder.parent / "keys.json", "token_file": folder.parent / "token.secret"}
    busy = {
        "max_cpu_percent": 100,
        "max_loop_percent": 100,
        "max_late_ms": 0,
    }  # the machine that runs the tests is as busy as it likes
    parts = {"avatars": {"dir": folder, "import_dirs": ()}, "access": access, "sessions": busy, **settings}
    app = build_app(Settings(**parts))  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield app, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def make_tutor(url: str) -> None:
    """The tutor "ada", with the sample's face."""
    form = aiohttp.FormData({"avatar_id": "ada", "tutor_id": "ada", "consent": "true"})
    form.add_field("video_file", PICTURE.read_bytes(), filename="ada.jpg")
    async with aiohttp.ClientSession() as client, client.post(f"{url}/v1/avatars/upload?wait=1", data=form) as made:
        assert made.status == 201, await made.text()


def clip() -> dict[str, Any]:
    """Five seconds of a real person where the shared clips are; the drawn sample portrait elsewhere."""
    if CLIP.is_file():
        return {"name": "rivera.mp4", "mimeType": "video/mp4", "buffer": beginning(CLIP, 5.2)}
    return {"name": "rivera.jpg", "mimeType": "image/jpeg", "buffer": PICTURE.read_bytes()}


async def test_from_a_clip_to_a_talk_and_away_again(real: tuple[web.Application, str], open_page: OpenPage) -> None:
    app, url = real
    teacher = await open_page(f"{url}/teacher")
    await teacher.set_input_files("#file", clip())
    await expect(teacher.locator("#chosen-video, #chosen-image").locator("visible=true")).to_have_count(1)
    await teacher.fill("#name", "Ms Rivera")
    await teacher.check("#consent")
    await teacher.click("#create")
    await expect(teacher.locator("#work-title")).to_have_text("Ms Rivera is ready", timeout=90_000)
    await expect(teacher.locator("#check-list .error")).to_have_count(0)
    await expect(teacher.locator('.item[data-id="ms-rivera"] .badge')).to_have_text("Ready")
    await teacher.fill("#sentence", "Hello, dear class.")
    await teacher.click("#say")
    await expect(teacher.locator("#captions")).to_contain_text("Hello", timeout=20_000)
    await expect(teacher.locator("#stage.playing")).to_be_visible()

    await student_talks(await open_page(f"{url}/?tutor=ms-rivera"))
    await until(lambda: len(app[SESSIONS].all()) == 1)  # the teacher's preview alone is left

    await teacher.get_by_label("Delete Ms Rivera").click()
    await teacher.click("#confirm [value=yes]")
    await expect(teacher.locator('.item[data-id="ms-rivera"]')).to_have_count(0)
    await until(lambda: not app[SESSIONS].all())
    with pytest.raises(AvatarError, match="no avatar"):
        app[STORE].get("ms-rivera")


async def student_talks(page: Page) -> None:
    """Start, hear and read a sentence, interrupt it, leave."""
    await expect(page.locator("#start-words")).to_have_text("Start with Ms Rivera")
    await page.click("#start")
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=20_000)
    await grows(page, "frames", 20)
    await grows(page, "currentTime", 0.5)
    quiet = (await stats(page))["audioEnergy"]
    await page.fill("#text", "Good morning. The sky is blue because the air scatters blue light more than red light.")
    await page.press("#text", "Enter")
    await expect(page.locator("#captions")).to_contain_text("morning", timeout=15_000)
    await grows(page, "audioEnergy", max(1e-4, quiet))
    await expect(page.locator(".bubble.tutor .said")).to_contain_text("The sky is")
    await page.keyboard.press("Escape")
    await expect(page.locator(".bubble.tutor .mark")).to_have_text("interrupted")
    said = await page.locator(".bubble.tutor .said").inner_text()
    assert said.startswith("Good morning.")
    assert "red light" not in said
    await grows(page, "frames", 10)  # the face goes on without words
    await page.goto("about:blank")


# -- by voice ---------------------------------------------------------------------------------------------------------

DIALOGUE = (
    ("Hello, can you hear me?", "Yes, I hear you well. What shall we talk about?"),
    ("What do plants need to grow?", "They need water, air and light."),
    ("Why is the sky blue?", "Because the air scatters blue light more than red light."),
    ("How many legs does a spider have?", "A spider has eight legs. That is two more than an ant."),
    ("Thank you, that was very helpful.", "You are welcome. See you soon."),
)


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake microphone plays, from its beginning each time it is opened."""
    return tmp_path_factory.mktemp("voice") / "student.wav"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(wav: Path) -> AsyncIterator[Browser]:
    async with chromium(f"--use-file-for-fake-audio-capture={wav}") as started:
        yield started


@pytest.fixture(scope="module")
def voice() -> HibariModel:
    return HibariModel("heart")


def record(path: Path, voice: HibariModel, sentence: str) -> None:
    """A room with a student in it, who says the sentence after half a second, then listens."""
    said = np.concatenate([voice.render(piece).pcm for piece in voice.plan(sentence)])
    sound = np.concatenate((np.zeros(24_000), said, np.zeros(60 * 48_000)))
    sound += np.random.default_rng(1).normal(0, 12, len(sound))
    fresh = path.with_suffix(".new")
    with wave.open(str(fresh), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(np.clip(sound, -32768, 32767).astype("<i2").tobytes())
    fresh.replace(path)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listener(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[ModelServer, str]]:
    """A server that hears (tiny.en) and answers (the stand-in model), with the sample's face; and its address."""
    whisper = whisper_folder()
    if whisper is None:
        missing(NO_WHISPER)
    async with model_server(first_token=0.1, speed=40) as model:
        settings = {
            "listening": {"model": str(whisper), "language": "en"},
            "model": {"base_url": model.url, "name": "stand-in"},
        }
        async with serving(tmp_path_factory.mktemp("listener") / "avatars", **settings) as (_, url):
            await make_tutor(url)
            yield model, url


@pytest.mark.timeout(240)
async def test_a_spoken_dialogue_of_five_turns(
    listener: tuple[ModelServer, str], open_page: OpenPage, wav: Path, voice: HibariModel
) -> None:
    model, url = listener
    record(wav, voice, DIALOGUE[0][0])
    page = await open_page(f"{url}/?tutor=ada")
    await page.click("#start")
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=20_000)
    await page.click("#mic-mode label:nth-of-type(2)")
    for turn, (question, answer) in enumerate(DIALOGUE):
        record(wav, voice, question)
        model.switches = Switches(reply=answer, first_token=0.1, speed=40)
        await page.click("#mic")
        await expect(page.locator("#mic-words")).to_have_text("Microphone on")
        asked = page.locator(".bubble.student:not(.guess) .said").nth(turn)
        await expect(asked).to_be_visible(timeout=30_000)
        assert words(await asked.inner_text()) == words(question)
        # The microphone stays open while the tutor speaks, and nothing interrupts it.
        spoken = page.locator(".bubble.tutor:not(.speaking) .said").nth(turn)
        await expect(spoken).to_have_text(answer, timeout=30_000)
        await expect(page.locator("#doing-words")).to_have_text("Your turn")
        await page.click("#mic")
        await expect(page.locator("#mic-words")).to_have_text("Microphone off")
    assert [words(body["messages"][-1]["content"]) for body in model.asked] == [words(each) for each, _ in DIALOGUE]
    async with page.expect_download() as loading:
        await page.locator(".save").click()
    lines = Path(await (await loading.value).path()).read_text(encoding="utf-8").splitlines()[4:]
    said = [line.split("] ", 1)[1] for line in lines]
    assert [line.split(": ", 1)[0] for line in said] == ["You", "Tutor"] * 5
    assert [words(line) for line in said[::2]] == [["you", *words(each)] for each, _ in DIALOGUE]
    assert said[1::2] == [f"Tutor: {each}" for _, each in DIALOGUE]
    await page.goto("about:blank")
