"""A client as LiveTalking's own pages are: waits for its candidates, offers, and steers by the number it was given."""

from __future__ import annotations

from typing import Any

from aiohttp import FormData

from tests.rtc.clients import AiortcViewer
from tests.server.conftest import Client


class LiveTalkingClient:
    def __init__(self, http: Client, **headers: str) -> None:
        self.http = http
        self.headers = headers
        self.viewer = AiortcViewer(("video", "audio"))
        self.sessionid = "0"

    async def start(self, **more: Any) -> None:
        offer = {"sdp": await self.viewer.offer(), "type": "offer", **more}
        answer = await self.http.post("/offer", json=offer, headers=self.headers)
        body = await answer.json()
        assert answer.status == 200, body
        assert set(body) == {"sdp", "type", "sessionid"}
        self.sessionid = body["sessionid"]
        await self.viewer.accept(body["sdp"])

    async def post(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        answer = await self.http.post(path, json={"sessionid": self.sessionid, **body}, headers=self.headers)
        assert answer.content_type == "application/json"
        return answer.status, await answer.json()

    async def send_audio(self, clip: bytes, *, file_first: bool = True) -> tuple[int, dict[str, Any]]:
        form = FormData()
        if not file_first:
            form.add_field("sessionid", self.sessionid)
        form.add_field("file", clip, filename="speech.wav", content_type="audio/wav")
        if file_first:
            form.add_field("sessionid", self.sessionid)
        answer = await self.http.post("/humanaudio", data=form, headers=self.headers)
        return answer.status, await answer.json()

    async def close(self) -> None:
        await self.viewer.close()
