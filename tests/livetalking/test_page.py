"""A page that does what LiveTalking's own do, in Chromium, from the server's own address as they expect it."""

from __future__ import annotations

import pytest
from playwright.async_api import Route, expect

from tests.pages.conftest import chromium, watched_pages
from tests.rtc.clients import until
from tests.server.conftest import Serve

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>LiveTalking</title><body>
<input type="hidden" id="sessionid" value="0">
<audio id="audio" autoplay></audio><video id="video" autoplay playsinline></video>
<p id="told"></p>
<script>
const json = (path, body) => fetch(path, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});
const number = () => document.getElementById("sessionid").value;
async function start() {
  const pc = new RTCPeerConnection({ sdpSemantics: "unified-plan" });
  pc.addEventListener("track", (event) => {
    document.getElementById(event.track.kind).srcObject = event.streams[0];
  });
  pc.addTransceiver("video", { direction: "recvonly" });
  pc.addTransceiver("audio", { direction: "recvonly" });
  await pc.setLocalDescription(await pc.createOffer());
  if (pc.iceGatheringState !== "complete") {
    await new Promise((done) => pc.addEventListener("icegatheringstatechange", () => {
      if (pc.iceGatheringState === "complete") done();
    }));
  }
  const offer = pc.localDescription;
  const answer = await (await json("/offer", { sdp: offer.sdp, type: offer.type })).json();
  document.getElementById("sessionid").value = answer.sessionid;
  await pc.setRemoteDescription(answer);
}
// Older pages read the number as one.
const say = (text) => json("/human", { text, type: "echo", interrupt: true, sessionid: parseInt(number()) });
const speaking = async () => (await (await json("/is_speaking", { sessionid: number() })).json()).data;
async function hear() {
  const source = new EventSource("/sse?sessionid=" + number());
  source.onmessage = (event) => { document.getElementById("told").textContent = JSON.parse(event.data).text; };
  await new Promise((done) => { source.onopen = done; });
}
</script></body></html>"""


@pytest.mark.browser
async def test_a_livetalking_page_connects_unchanged(serve: Serve) -> None:
    server = await serve(livetalking={"enabled": True})
    address = str(server.client.make_url("/webrtcapi.html"))

    async def fulfil(route: Route) -> None:
        await route.fulfill(body=PAGE, content_type="text/html")

    async with chromium() as browser, watched_pages(browser) as open_page:
        page = await open_page(str(server.client.make_url("/livez")))
        await page.route(address, fulfil)
        await page.goto(address)
        await page.evaluate("start()")
        await page.wait_for_function("document.getElementById('video').currentTime > 0.3")
        assert await page.evaluate("document.getElementById('video').videoWidth") == 160
        await page.evaluate("hear()")
        assert (await page.evaluate("say('Good morning.').then((answer) => answer.json())")) == {"code": 0, "msg": "ok"}
        assert server.lives[0].said == [("Good morning.", None)]
        await expect(page.locator("#told")).to_have_text("Good morning.")
        assert await page.evaluate("speaking()") is True
    await until(lambda: server.sessions.all() == [])
