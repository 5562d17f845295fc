"""Chromium as the viewer: joins a session by WHEP and reports what it decoded and displayed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Page, sync_playwright

from bench.serving import Server, Session

FLAGS = [
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
]

# Joins by WHEP; every displayed frame is noted with the times that the browser gives it.
_JOIN = """
async ({whep, token, name}) => {
  const pc = new RTCPeerConnection();
  pc.addTransceiver('audio', {direction: 'recvonly'});
  pc.addTransceiver('video', {direction: 'recvonly'});
  const stream = new MediaStream();
  pc.ontrack = (event) => stream.addTrack(event.track);
  const video = document.createElement('video');
  Object.assign(video, {autoplay: true, playsInline: true, srcObject: stream});
  video.style.cssText = 'position:fixed;inset:0;width:640px;z-index:9';
  document.body.append(video);
  const viewer = {pc, stream, video, frames: [], first: null, sent: null};
  (window.viewers ||= {})[name] = viewer;
  const note = (now, data) => {
    if (viewer.first === null) viewer.first = performance.now();
    viewer.frames.push([performance.timeOrigin + data.presentationTime, data.rtpTimestamp, data.captureTime ?? null]);
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
  await pc.setLocalDescription(await pc.createOffer());
  viewer.sent = performance.now();
  const answer = await fetch(whep, {method: 'POST', body: pc.localDescription.sdp,
    headers: {'Content-Type': 'application/sdp', 'Authorization': 'Bearer ' + token}});
  if (answer.status !== 201) throw new Error('WHEP ' + answer.status + ' ' + await answer.text());
  viewer.resource = new URL(answer.headers.get('Location'), whep).href;
  viewer.token = token;
  await pc.setRemoteDescription({type: 'answer', sdp: await answer.text()});
  const decoded = async () => {
    for (const report of (await pc.getStats()).values())
      if (report.type === 'inbound-rtp' && report.kind === 'video' && report.framesDecoded > 0) return true;
    return false;
  };
  const limit = performance.now() + 10000;
  while (!await decoded()) {
    if (performance.now() > limit) throw new Error('no frame within 10 s');
    await new Promise((resolve) => setTimeout(resolve, 4));
  }
  return performance.now() - viewer.sent;
}
"""

_LEAVE = """
async (name) => {
  const viewer = window.viewers[name];
  viewer.pc.close();
  viewer.video.remove();
  delete window.viewers[name];
  await fetch(viewer.resource, {method: 'DELETE', headers: {'Authorization': 'Bearer ' + viewer.token}});
}
"""

_STATS = """
async (name) => {
  const out = {};
  for (const report of (await window.viewers[name].pc.getStats()).values())
    if (report.type === 'inbound-rtp') out[report.kind] = {...report};
  return out;
}
"""

_RECORD = """
async ({name, seconds}) => {
  window.viewers[name].video.remove();  // nobody looks: the cores are for the recorder
  const recorder = new MediaRecorder(window.viewers[name].stream,
    {mimeType: 'video/webm;codecs=h264,opus', videoBitsPerSecond: 6000000});
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  const done = new Promise((resolve) => recorder.onstop = resolve);
  recorder.start(500);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  recorder.stop();
  await done;
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  let text = '';
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}
"""


def executable() -> str:
    """Chromium's path: LECTERN_CHROMIUM or the first usual name on PATH."""
    for name in (os.environ.get("LECTERN_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        path = name and shutil.which(name)
        if path:
            return path
    raise SystemExit("Chromium is missing: run `bash bench/install_chromium.sh`.")


class Browser:
    """One Chromium page on the server's origin with any number of viewers in it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def join(self, session: Session, name: str) -> float:
        """Join; gives the milliseconds from sending the offer to the first decoded frame."""
        return float(self.page.evaluate(_JOIN, {"whep": session.whep, "token": session.token, "name": name}))

    def leave(self, name: str) -> None:
        self.page.evaluate(_LEAVE, name)

    def stats(self, name: str) -> dict[str, Any]:
        """The inbound-rtp reports: {"video": …, "audio": …}."""
        return dict(self.page.evaluate(_STATS, name))

    def frames(self, name: str) -> list[tuple[float, int, float | None]]:
        """Displayed frames since the last call: (display time, Unix ms; RTP time; capture time, page ms or None)."""
        return [tuple(row) for row in self.page.evaluate("(name) => window.viewers[name].frames.splice(0)", name)]

    def record(self, name: str, seconds: float) -> str:
        """A recording made inside the browser (webm; H.264, as VP8 drops frames on two cores, and Opus), base64."""
        return str(self.page.evaluate(_RECORD, {"name": name, "seconds": seconds}))


@contextlib.contextmanager
def chromium(server: Server) -> Iterator[Browser]:
    """A headless Chromium with a page on the server's origin; closed at the end."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable(), args=FLAGS, headless=True)
        try:
            page = launched.new_page()
            page.set_default_timeout(120_000)
            page.goto(server.url + "/")
            yield Browser(page)
        finally:
            launched.close()
