"""Tutors over HTTP, on both databases: made, found, changed, deleted, and what a session gets of them."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from avatars.record import AvatarRecord
from server.tutor_making import ids_for
from tests.server.conftest import Running, Serve, add_ready, problem

ADA: dict[str, Any] = {
    "id": "ada-l",
    "name": "Ada Lovelace",
    "description": "Teaches counting machines.",
    "avatar_id": "ada",
    "voice": "hibari:heart",
    "language": "English",
    "persona": "You are Ada.",
    "model": "small",
}


@pytest.fixture
async def server(serve: Serve, url: str) -> Running:
    return await serve(records={"database_url": url}, model={"tutors": {"ada-l": {"persona": "old", "model": "big"}}})


async def made(server: Running, **fields: Any) -> dict[str, Any]:
    answer = await server.client.post("/v1/tutors", json=fields)
    assert answer.status == 201, await answer.text()
    body: dict[str, Any] = await answer.json()
    assert answer.headers["Location"] == f"/v1/tutors/{body['id']}"
    return body


async def test_a_tutor_is_made_shown_changed_and_deleted(server: Running) -> None:
    tutor = await made(server, **ADA)
    assert {name: tutor[name] for name in ADA} == ADA
    assert tutor["tutor_id"] == "ada-l"
    assert tutor["avatar"] == {"avatar_id": "ada", "state": "ready", "stage": "done", "progress": 1.0, "error": None}
    url = "/v1/tutors/ada-l"
    assert await (await server.client.get(url)).json() == tutor

    answer = await server.client.patch(url, json={"name": " Countess Ada ", "voice": None, "unknown": 1})
    changed = await answer.json()
    assert (answer.status, changed["name"], changed["voice"]) == (200, "Countess Ada", None)
    assert changed["persona"] == ADA["persona"]
    assert changed["updated_at"] > changed["created_at"] == tutor["created_at"]
    assert await (await server.client.get(url)).json() == changed
    assert await (await server.client.patch(url, json={})).json() == changed

    assert (await server.client.delete(url)).status == 204
    for answer in (
        await server.client.get(url),
        await server.client.delete(url),
        await server.client.patch(url, json={"name": "x"}),
    ):
        await problem(answer, 404, "unknown_tutor")
    assert (await server.client.get("/v1/avatars/ada")).status == 200


async def test_an_id_is_made_of_the_name(server: Running) -> None:
    assert (await made(server, name="Ms. Chén"))["id"] == "ms-chen"
    assert (await made(server, name="ms chen"))["id"] == "ms-chen-2"
    chinese = (await made(server, name="陈老师"))["id"]
    assert chinese.startswith("tutor-")
    assert (await made(server, id=7, name="Seven", description="  "))["id"] == "7"
    await problem(await server.client.post("/v1/tutors", json={"id": "ms-chen", "name": "Other"}), 409, "exists")


def test_ids_never_end() -> None:
    proposals = ids_for("Zoë " * 60)
    some = [next(proposals) for _ in range(30)]
    assert len(set(some)) == 30
    assert max(map(len, some)) <= 64


async def test_a_list_in_pages(server: Running) -> None:
    for name in ("Émile", "bob", "Alice", "100% Carl"):
        await made(server, name=name)

    async def listed(query: str = "") -> tuple[int, list[str]]:
        body = await (await server.client.get(f"/v1/tutors{query}")).json()
        return body["total"], [item["name"] for item in body["items"]]

    assert await listed() == (4, ["100% Carl", "Alice", "bob", "Émile"])
    assert await listed("?limit=2&offset=1") == (4, ["Alice", "bob"])
    assert await listed("?search=B") == (1, ["bob"])
    assert await listed("?search=éMI") == (1, ["Émile"])
    assert await listed("?search=%25") == (1, ["100% Carl"])
    assert await listed("?search=_") == (0, [])
    assert await listed("?search=%00") == (4, ["100% Carl", "Alice", "bob", "Émile"])
    for query in ("?limit=0", "?limit=201", "?limit=x", "?offset=-1", "?offset=99999999999", "?limit=%C2%B2"):
        await problem(await server.client.get(f"/v1/tutors{query}"), 422, "invalid_request")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "invalid_request"),
    ({"name": " "}, "invalid_request"),
    ({"name": "x" * 201}, "invalid_request"),
    ({"name": "a\0b"}, "invalid_request"),
    ({"name": "x", "persona": "p" * 8001}, "invalid_request"),
    ({"name": "x", "description": "a\0"}, "invalid_request"),
    ({"name": "x", "voice": "hibari:nobody"}, "unknown_voice"),
    ({"name": "x", "avatar_id": "nobody"}, "unknown_avatar"),
    ({"name": "x", "avatar_id": "../ada"}, "unknown_avatar"),
    ({"name": "x", "id": "../x"}, "invalid_id"),
    ({"name": "x", "id": "ü"}, "invalid_id"),
]


async def test_tutors_that_cannot_be(serve: Serve) -> None:
    server = await serve()
    await made(server, id="there", name="There")
    for fields, code in WRONG:
        await problem(await server.client.post("/v1/tutors", json=fields), 422, code)
        if "id" not in fields and fields:
            await problem(await server.client.patch("/v1/tutors/there", json=fields), 422, code)
    assert (await (await server.client.get("/v1/tutors")).json())["total"] == 1


async def test_tutors_that_are_not_there(serve: Serve) -> None:
    from yarl import URL

    server = await serve()
    for tutor_id in ("nobody", "a%2Fb", "..%2F..%2Fetc", "x" * 300, "%00"):
        for method in ("GET", "PATCH", "DELETE"):
            answer = await server.client.request(method, URL(f"/v1/tutors/{tutor_id}", encoded=True), json={})
            await problem(answer, 404, "unknown_tutor")


async def test_a_session_by_tutor_id_gets_all_that_the_tutor_has(server: Running) -> None:
    add_ready(server.root, "other", "t-ada")
    await made(server, **{**ADA, "voice": "hibari:heart"})
    answer = await server.client.post("/v1/sessions", json={"tutor_id": "ada-l", "student_id": "s1"})
    body = await answer.json()
    assert (body["avatar_id"], body["tutor_id"], body["voice"]) == ("ada", "ada-l", "hibari:heart")
    persona = server.sessions.get(body["session_id"]).persona
    assert (persona.text, persona.language, persona.model) == ("You are Ada.", "English", "small")

    more = {"avatar_id": "other", "voice": "edge:pt-BR-FranciscaNeural", "persona": "Mine.", "language": "French"}
    answer = await server.client.post("/v1/sessions", json={"tutor_id": "ada-l", "student_id": "s1", **more})
    body = await answer.json()
    assert (body["avatar_id"], body["voice"]) == ("other", "edge:pt-BR-FranciscaNeural")
    persona = server.sessions.get(body["session_id"]).persona
    assert (persona.text, persona.language) == ("Mine.", "French")

    by_avatar = await server.session("ada")  # as the student page asks
    assert by_avatar["tutor_id"] == "ada-l"
    assert server.sessions.get(by_avatar["session_id"]).persona.text == "You are Ada."


async def test_what_a_tutor_has_not_is_as_config_yaml_says(server: Running) -> None:
    await made(server, id="ada-l", name="Ada", avatar_id="ada")
    body = await server.session("ada", tutor_id="ada-l")
    persona = server.sessions.get(body["session_id"]).persona
    assert (persona.text, persona.model, body["voice"]) == ("old", "big", None)


async def test_a_tutor_without_an_avatar_of_its_own(server: Running) -> None:
    tutor = await made(server, id="t-ada", name="Ada")
    assert (tutor["avatar_id"], tutor["avatar"]["avatar_id"]) == (None, "ada")  # made for its id
    answer = await server.client.post("/v1/sessions", json={"tutor_id": "t-ada", "student_id": "s1"})
    assert (await answer.json())["avatar_id"] == "ada"

    assert (await made(server, id="bare", name="Bare"))["avatar"] is None
    answer = await server.client.post("/v1/sessions", json={"tutor_id": "bare", "student_id": "s1"})
    await problem(answer, 409, "no_avatar")
    answer = await server.client.post("/v1/sessions", json={"tutor_id": "nobody", "student_id": "s1"})
    await problem(answer, 404, "unknown_tutor")
    answer = await server.client.post("/v1/sessions", json={"tutor_id": "a\0", "student_id": "s1"})
    await problem(answer, 422, "invalid_request")


async def test_a_tutor_whose_avatar_has_gone_or_is_not_ready(server: Running) -> None:
    add_ready(server.root, "short-lived")
    await made(server, id="t", name="T", avatar_id="short-lived")
    assert (await server.client.delete("/v1/avatars/short-lived")).status == 204
    shown = await (await server.client.get("/v1/tutors/t")).json()
    assert (shown["avatar_id"], shown["avatar"]["state"]) == ("short-lived", "missing")
    session = {"tutor_id": "t", "student_id": "s1"}
    await problem(await server.client.post("/v1/sessions", json=session), 409, "no_avatar")

    server.store.building.joinpath("slow").mkdir()
    server.store.update(AvatarRecord(id="slow", progress=0.4))
    await server.client.patch("/v1/tutors/t", json={"avatar_id": "slow"})
    shown = await (await server.client.get("/v1/tutors/t")).json()
    assert (shown["avatar"]["state"], shown["avatar"]["progress"]) == ("preparing", 0.4)
    await problem(await server.client.post("/v1/sessions", json=session), 409, "not_ready")


async def test_a_tutor_with_its_avatar_is_deleted_unless_it_is_in_use(server: Running) -> None:
    await made(server, id="one", name="One", avatar_id="ada")
    await made(server, id="two", name="Two", avatar_id="ada")
    await problem(await server.client.delete("/v1/tutors/one?avatar=1"), 409, "avatar_shared")
    assert (await server.client.delete("/v1/tutors/two?avatar=0")).status == 204
    session = await server.session("ada")
    await problem(await server.client.delete("/v1/tutors/one?avatar=1"), 409, "in_use")
    assert (await server.client.get("/v1/tutors/one")).status == 200
    await server.client.delete(f"/v1/sessions/{session['session_id']}")
    assert (await server.client.delete("/v1/tutors/one?avatar=1")).status == 204
    assert not (server.root / "ada").exists()
    await problem(await server.client.get("/v1/tutors/one"), 404, "unknown_tutor")


async def test_tutors_outlive_the_server(serve: Serve, url: str) -> None:
    first = await serve(records={"database_url": url})
    tutor = await made(first, **ADA)
    await first.client.close()
    second = await serve(records={"database_url": url})
    assert await (await second.client.get("/v1/tutors/ada-l")).json() == tutor


async def test_a_database_that_goes_away_and_comes_back(serve: Serve) -> None:
    """Sessions by avatar alone go on; who asks for a tutor is told to come again."""
    server = await serve()
    await made(server, **ADA)
    from server.keys import RECORDS

    await server.app[RECORDS].database.close()
    file = server.root.parent / "lectern.db"
    hidden = [each.rename(f"{each}.away") for each in server.root.parent.glob("lectern.db*")]
    file.mkdir()
    answer = await server.client.get("/v1/tutors")
    await problem(answer, 503, "records_unavailable")
    assert answer.headers["Retry-After"] == "5"
    answer = await server.client.post("/v1/sessions", json={"tutor_id": "ada-l", "student_id": "s1"})
    await problem(answer, 503, "records_unavailable")
    file.rmdir()
    for each in hidden:
        each.rename(str(each).removesuffix(".away"))
    assert (await server.client.get("/v1/tutors/ada-l")).status == 200


def form(**fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for name, value in fields.items():
        data.add_field(name, value, content_type="text/plain")
    return data


async def test_a_form_without_a_video_makes_a_tutor_too(serve: Serve) -> None:
    server = await serve()
    answer = await server.client.post(
        "/v1/tutors", data=form(name="Ada", avatar_id="ada", voice="", persona="é" * 8000)
    )
    assert answer.status == 201, await answer.text()
    tutor = await answer.json()
    assert (tutor["id"], tutor["avatar"]["state"], tutor["persona"]) == ("ada", "ready", "é" * 8000)
