"""Sessions sent on to RTMP and WHIP servers: what arrives, what happens when they fail, and who may."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.events import SpeechEnded
from pipeline.outputs.link import LinkError
from pipeline.outputs.rtmp import RtmpLink
from server.keys import OUTPUTS
from server.recorder import output as outputs
from server.recorder.whip import WhipLink
from server.rtc.settings import RtcSettings
from tests.pipeline.conftest import OpenShow
from tests.ports import free_port
from tests.recorder.receivers import RtmpReceiver, whip_endpoint
from tests.rtc.clients import until
from tests.rtc.fakes import FakeLive
from tests.server.conftest import Running, Serve, problem

HOSTS = {"allowed_hosts": ("127.0.0.1",)}
KEY, TOKEN = "the-stream-key", "the-bearer-token"


@pytest.fixture(autouse=True)
def _tries_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(outputs, "LONGEST_PAUSE", 0.2)


async def begin(server: Running, session_id: str, **body: Any) -> dict[str, Any]:
    answer = await server.client.post(f"/v1/sessions/{session_id}/outputs", json=body)
    assert answer.status == 201, await answer.text()
    made: dict[str, Any] = await answer.json()
    assert answer.headers["Location"] == f"/v1/sessions/{session_id}/outputs/{made['output_id']}"
    return made


async def until_state(server: Running, session_id: str, output_id: str, state: str) -> dict[str, Any]:
    output = server.app[OUTPUTS].find(server.sessions.get(session_id), output_id)
    await until(lambda: output.state == state, 40)
    answer = await server.client.get(f"/v1/sessions/{session_id}/outputs/{output_id}")
    body: dict[str, Any] = await answer.json()
    return body


async def test_rtmp_brings_picture_and_sound_of_one_instant(show: OpenShow) -> None:
    port = free_port()
    receiver = RtmpReceiver(port)
    await receiver.listening()
    connected = asyncio.Event()
    async with show() as stage:
        link = RtmpLink(f"rtmp://127.0.0.1:{port}/live/key")
        pushing = asyncio.create_task(link.push(stage.live, connected.set))  # type: ignore[arg-type]
        await asyncio.wait_for(connected.wait(), 30)
        await receiver.until(10)
        await stage.event(SpeechEnded, stage.live.say("one two three"))
        await receiver.until(len(receiver.film.pictures) + 25)
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
    await until(receiver.ended.is_set)
    film = receiver.film
    assert film.codecs == ["h264", "aac"]
    assert len(film.loud) > 15
    speaking = [at for at, mouth in film.pictures if mouth > 0.6]
    assert speaking[0] - film.loud[0] == pytest.approx(0.04, abs=0.045), "AAC's packets are 21 ms long"


async def test_rtmp_comes_back_and_disturbs_nobody(serve: Serve) -> None:
    server = await serve(outputs=HOSTS)
    made = await server.session()
    port = free_port()
    url = f"rtmp://127.0.0.1:{port}/live/{KEY}"
    first = RtmpReceiver(port, f"live/{KEY}")
    await first.listening()
    output = await begin(server, made["session_id"], type="rtmp", url=url)
    assert output["url"] == f"rtmp://127.0.0.1:{port}/live/…"
    await first.until(10)
    live = await until_state(server, made["session_id"], output["output_id"], "live")
    assert live["connected_at"]
    watching = server.lives[0].join()
    await first.stop()
    broken = await until_state(server, made["session_id"], output["output_id"], "waiting")
    assert broken["last_error"]["code"] in ("broken", "unreachable", "refused")
    began = time.monotonic()
    for _ in range(25):  # who watches the session notices nothing
        await asyncio.wait_for(watching.video(), 8)
    assert time.monotonic() - began < 8  # a second, where one that connects does not hold it up for ten
    second = RtmpReceiver(port, f"live/{KEY}")
    await second.until(10)
    again = await until_state(server, made["session_id"], output["output_id"], "live")
    assert again["attempts"] >= 2
    assert second.film.loud
    await server.client.delete(f"/v1/sessions/{made['session_id']}/outputs/{output['output_id']}")
    await until(second.ended.is_set)


async def test_whip_brings_picture_and_sound_and_comes_back(serve: Serve) -> None:
    server = await serve(outputs=HOSTS)
    made = await server.session()
    async with whip_endpoint() as endpoint:
        output = await begin(server, made["session_id"], type="whip", url=endpoint.url, token=TOKEN)
        await until(lambda: len(endpoint.calls) == 1)
        call = endpoint.calls[0]
        await until(lambda: call.pictures >= 10 and call.loudness > 0.1)
        assert call.headers["Authorization"] == f"Bearer {TOKEN}"
        assert (await until_state(server, made["session_id"], output["output_id"], "live"))["attempts"] == 1
        await call.close()  # the server goes away
        await until(lambda: len(endpoint.calls) == 2 and endpoint.calls[1].pictures >= 5)
        shown = await until_state(server, made["session_id"], output["output_id"], "live")
        assert shown["last_error"]["code"] == "broken"
        assert len(endpoint.deleted) == 1, "what was made for the first connection"
        answer = await server.client.delete(f"/v1/sessions/{made['session_id']}/outputs/{output['output_id']}")
        assert answer.status == 204
        assert len(endpoint.deleted) == 2
        assert endpoint.deleted[1]["Authorization"] == f"Bearer {TOKEN}"
        assert (await (await server.client.get(f"/v1/sessions/{made['session_id']}/outputs")).json())["total"] == 0


async def test_an_output_keeps_its_session_awake_and_ends_with_it(serve: Serve) -> None:
    server = await serve(outputs=HOSTS, sessions={"leave_seconds": 0.0})
    made = await server.session()
    url = f"/v1/sessions/{made['session_id']}"
    async with whip_endpoint() as endpoint:
        async with server.client.ws_connect(made["engine_url"]) as socket:
            await socket.send_json({"type": "init"})
            assert (await socket.receive_json(timeout=10))["outputs"] == 0
            output = await begin(server, made["session_id"], type="whip", url=endpoint.url)
            told = await socket.receive_json(timeout=10)
            assert told == {"type": "output_started", "output_id": output["output_id"]}
        await until(lambda: bool(endpoint.calls) and endpoint.calls[0].pictures >= 10)
        assert (await (await server.client.get(url)).json())["outputs"] == 1
        assert not server.lives[0].closed
        assert (await server.client.delete(url)).status == 204
        await until(lambda: len(endpoint.deleted) == 1)
        await until(lambda: server.lives[0].closed)


@pytest.mark.parametrize(
    ("answer", "code", "final"),
    [
        ((401, "", {}), "refused", True),
        ((500, "", {}), "refused", False),
        ((404, "", {}), "refused", True),
        ((201, "hello", {}), "bad_answer", False),
        ((201, "x" * 70_000, {}), "bad_answer", False),
        ((307, "", {"Location": "http://169.254.169.254/whip"}), "refused", True),
        ((307, "", {"Location": "/whip"}), "bad_answer", False),
        ((201, "hello", {"Location": "file:///etc/passwd"}), "refused", True),
    ],
)
async def test_whip_endpoints_that_are_none(answer: Any, code: str, final: bool) -> None:
    async with FakeLive() as live, whip_endpoint() as endpoint:
        endpoint.answer = answer
        link = WhipLink(endpoint.url, TOKEN, "h264", RtcSettings(), lambda url: url.startswith("http://127.0.0.1:"))
        with pytest.raises(LinkError) as wrong:
            await link.push(live, lambda: None)
        assert (wrong.value.code, wrong.value.final) == (code, final), str(wrong.value)
        assert TOKEN not in str(wrong.value)
        assert not live.viewers


async def test_the_token_does_not_follow_to_another_origin() -> None:
    async with FakeLive() as live, whip_endpoint() as first, whip_endpoint() as second:
        first.answer = (307, "", {"Location": second.url})
        second.answer = (401, "", {})
        with pytest.raises(LinkError):
            await WhipLink(first.url, TOKEN, "h264", RtcSettings(), lambda url: True).push(live, lambda: None)
        assert "Authorization" in first.calls[0].headers
        assert "Authorization" not in second.calls[0].headers
        first.answer = (307, "", {"Location": "/whip"})
        with pytest.raises(LinkError):
            await WhipLink(first.url, TOKEN, "h264", RtcSettings(), lambda url: True).push(live, lambda: None)
        assert all("Authorization" in call.headers for call in first.calls)


async def test_a_token_that_is_not_taken_is_not_tried_again(serve: Serve) -> None:
    server = await serve(outputs=HOSTS)
    made = await server.session()
    async with whip_endpoint() as endpoint:
        endpoint.answer = (403, "", {})
        output = await begin(server, made["session_id"], type="whip", url=endpoint.url, token=TOKEN)
        shown = await until_state(server, made["session_id"], output["output_id"], "failed")
        assert (shown["attempts"], shown["last_error"]["code"]) == (1, "refused")
        assert "token" in shown["last_error"]["message"]


async def test_what_never_connects_is_given_up_and_secrets_stay_secret(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve(outputs={**HOSTS, "give_up_seconds": 5.0})  # time for a second try, however slow the first is
    made = await server.session()
    url = f"/v1/sessions/{made['session_id']}/outputs"
    async with whip_endpoint() as endpoint:
        endpoint.answer = (500, TOKEN, {})
        whip = await begin(server, made["session_id"], type="whip", url=f"{endpoint.url}?k={KEY}", token=TOKEN)
        rtmp = await begin(
            server, made["session_id"], type="rtmp", url=f"rtmp://127.0.0.1:{free_port()}/live/{KEY}", token=TOKEN
        )
        shown = await until_state(server, made["session_id"], whip["output_id"], "failed")
        assert shown["attempts"] == len(endpoint.calls) >= 2
        shown = await until_state(server, made["session_id"], rtmp["output_id"], "failed")
        assert shown["last_error"]["code"] == "unreachable"
    listed = await (await server.client.get(url)).text()
    told = listed + capsys.readouterr().out
    assert "output_failed" in told
    assert KEY not in told
    assert TOKEN not in told


async def test_what_cannot_be_asked(serve: Serve) -> None:
    server = await serve(outputs={**HOSTS, "max_per_session": 1})
    url = f"/v1/sessions/{(await server.session())['session_id']}/outputs"
    rtmp = f"rtmp://127.0.0.1:{free_port()}/live/key"

    async def ask(**body: Any) -> Any:
        return await server.client.post(url, json=body)

    await problem(await ask(type="rtmp", url="rtmp://10.1.2.3/live/key"), 403, "output_forbidden")
    await problem(await ask(type="whip", url="http://localhost/whip"), 403, "output_forbidden")
    body = await problem(await ask(type="rtmp", url="file:///etc/passwd"), 422, "invalid_request")
    assert "passwd" not in str(body)
    await problem(await ask(type="srt", url=rtmp), 422, "invalid_request")
    await problem(await ask(type="rtmp"), 422, "invalid_request")
    await problem(await server.client.get(f"{url}/nobody"), 404, "output_not_found")
    await problem(await server.client.delete(f"{url}/nobody"), 404, "output_not_found")
    await problem(await server.client.post("/v1/sessions/nobody/outputs", json={}), 404, "session_not_found")
    assert (await ask(type="rtmp", url=rtmp)).status == 201
    await problem(await ask(type="rtmp", url=rtmp), 409, "too_many_outputs")


async def test_outputs_are_off_until_hosts_are_named(serve: Serve) -> None:
    server = await serve()
    url = f"/v1/sessions/{(await server.session())['session_id']}/outputs"
    body = await problem(
        await server.client.post(url, json={"type": "rtmp", "url": "rtmp://127.0.0.1/a/b"}), 503, "outputs_off"
    )
    assert "outputs.allowed_hosts" in body["detail"]


async def test_rtmp_needs_h264(serve: Serve) -> None:
    server = await serve(outputs=HOSTS, video={"codec": "vp8"})
    url = f"/v1/sessions/{(await server.session())['session_id']}/outputs"
    answer = await server.client.post(url, json={"type": "rtmp", "url": "rtmp://127.0.0.1/a/b"})
    await problem(answer, 422, "codec_unsupported")


def certificate(folder: Path) -> tuple[Path, Path]:
    """Of 127.0.0.1, by nobody: the certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a receiver of a test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return paths


async def test_rtmps_tells_its_key_to_no_server_that_is_not_trusted(tmp_path: Path) -> None:
    trusted, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, key)
    heard: list[int] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(len(await reader.read(2000)))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    url = f"rtmps://127.0.0.1:{server.sockets[0].getsockname()[1]}/live/{KEY}"
    async with FakeLive() as live:
        for certificates, count in (("", 0), (str(trusted), 1)):
            with pytest.raises(LinkError) as wrong:
                await RtmpLink(url, certificates=certificates).push(live, lambda: None)
            assert wrong.value.code == "refused"
            assert len([size for size in heard if size]) == count
    server.close()


def children(name: str) -> set[int]:
    """Processes of this one, not of other tests beside it, whose command line has that word."""
    found = set()
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if name in " ".join(each.cmdline()):
                found.add(each.pid)
    return found


async def test_a_server_that_takes_nothing_is_left_and_no_process_stays(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.outputs import rtmp

    monkeypatch.setattr(rtmp, "IO_SECONDS", 1.0)
    deaf = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = deaf.sockets[0].getsockname()[1]
    server = await serve(outputs={**HOSTS, "give_up_seconds": 1.0})
    made = await server.session()
    output = await begin(server, made["session_id"], type="rtmp", url=f"rtmp://127.0.0.1:{port}/live/key")
    await until(lambda: bool(children("rtmp_child")))
    shown = await until_state(server, made["session_id"], output["output_id"], "failed")
    assert shown["last_error"]["code"] == "timeout"
    await until(lambda: not children("rtmp_child"))
    deaf.close()
