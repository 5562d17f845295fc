"""A school's web server that has tutors: it drives Lectern over HTTP and gives the browser what a lesson needs.

Run it: see docs/integration.md. LECTERN_URL: Lectern as this server reaches it. LECTERN_PUBLIC_URL: as browsers do, if
that differs. LECTERN_KEY: a key with the role "service".
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote

import httpx
from fastapi import Cookie, Depends, FastAPI, Form, HTTPException, Request, UploadFile
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel

LECTERN_URL = os.environ.get("LECTERN_URL", "http://127.0.0.1:9000")
LECTERN_PUBLIC_URL = os.environ.get("LECTERN_PUBLIC_URL", LECTERN_URL).rstrip("/")
LECTERN_KEY = os.environ.get("LECTERN_KEY", "")
HERE = Path(__file__).parent


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for all requests: it keeps connections open. httpx's own time limits (5 s) are enough."""
    headers = {"Authorization": f"Bearer {LECTERN_KEY}"} if LECTERN_KEY else {}
    async with httpx.AsyncClient(base_url=LECTERN_URL, headers=headers) as client:
        app.state.lectern = client
        app.state.lessons = {}  # lesson -> its student; a real school keeps this in its database
        yield


app = FastAPI(title="A school", lifespan=lifespan)


async def ask(method: str, path: str, **more: Any) -> Any:
    """Call Lectern; gives its answer. Failures are handed on by the two handlers below."""
    response = await app.state.lectern.request(method, path, **more)
    response.raise_for_status()
    return response.json() if response.content else None


@app.exception_handler(httpx.HTTPStatusError)
async def refused(request: Request, error: httpx.HTTPStatusError) -> JSONResponse:
    """Lectern says what is wrong: `code` for programs, `detail` for people. Only its 401 is this school's own fault."""
    answer = error.response
    try:
        problem = answer.json()
    except ValueError:
        problem = {"code": "lectern_failed", "detail": "The tutors' server gave no readable answer."}
    if answer.status_code in (401, 403):
        problem = {"code": "lectern_key", "detail": "This school's LECTERN_KEY is not accepted."}
    headers = {"Retry-After": answer.headers["Retry-After"]} if "Retry-After" in answer.headers else {}
    status = 502 if answer.status_code in (401, 403) else answer.status_code
    return JSONResponse({"code": problem.get("code"), "detail": problem.get("detail")}, status, headers)


@app.exception_handler(httpx.TransportError)
async def unreachable(request: Request, error: httpx.TransportError) -> JSONResponse:
    problem = {"code": "lectern_unreachable", "detail": "The tutors are not to be reached now. Try again soon."}
    return JSONResponse(problem, 503, {"Retry-After": "10"})


# -- teachers (a real school checks here that a teacher asks) -----------------------------------------------------


@app.post("/tutors", status_code=201)
async def make_tutor(
    name: Annotated[str, Form()],
    video: UploadFile,
    consent: Annotated[bool, Form()],
    persona: Annotated[str, Form()] = "",
) -> Any:
    """One call makes the tutor and its avatar. It answers once the video is accepted; preparing goes on for a while."""
    fields = {"name": name, "persona": persona, "consent": str(consent).lower()}
    files = {"video_file": (video.filename, video.file, video.content_type)}
    return await ask("POST", "/v1/tutors", data=fields, files=files)


@app.get("/tutors")
async def tutors() -> Any:
    return await ask("GET", "/v1/tutors")


@app.get("/tutors/{tutor_id}")
async def tutor(tutor_id: str) -> Any:
    """To be asked every second or so until avatar.state is ready, or failed: then avatar.error says why."""
    return await ask("GET", f"/v1/tutors/{quote(tutor_id, safe='')}")


# -- students -----------------------------------------------------------------------------------------------------


async def student(student: Annotated[str | None, Cookie()] = None) -> str:
    """Who asks. A real school has a login; this example believes a cookie."""
    if not student:
        raise HTTPException(401, "Log in first.")
    return unquote(student)


Student = Annotated[str, Depends(student)]


class NewLesson(BaseModel):
    tutor_id: str


@app.post("/lessons", status_code=201)
async def begin(order: NewLesson, student: Student) -> Any:
    """A session for this student, and of it what the browser needs. The key stays here: the token opens this session
    only, and expires.
    """
    made = await ask("POST", "/v1/sessions", json={"tutor_id": order.tutor_id, "student_id": student})
    app.state.lessons[made["session_id"]] = student
    return {
        "lesson_id": made["session_id"],
        "token": made["engine_token"],
        "engine_url": LECTERN_PUBLIC_URL.replace("http", "ws", 1) + made["engine_url"],
        "whep_url": LECTERN_PUBLIC_URL + made["whep_url"],
        "ice_servers": made["ice_servers"],
        "ice_transport_policy": made["ice_transport_policy"],
    }


async def own(lesson_id: str, student: Student) -> str:
    """Nobody else's lesson."""
    if app.state.lessons.get(lesson_id) != student:
        raise HTTPException(404, "You have no such lesson.")
    return lesson_id


Lesson = Annotated[str, Depends(own)]


@app.delete("/lessons/{lesson_id}", status_code=204)
async def end(lesson_id: Lesson) -> None:
    """Ending what has ended by itself (the student left long ago) is no failure."""
    try:
        await ask("DELETE", f"/v1/sessions/{lesson_id}")
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 404:
            raise


@app.get("/lessons/{lesson_id}/transcript")
async def transcript(lesson_id: Lesson, student: Student) -> Any:
    """What the student said, and what was heard of the tutor."""
    turns: list[Any] = []
    while True:
        query = {"session_id": lesson_id, "limit": 200, "offset": len(turns)}
        page = await ask("GET", f"/v1/students/{quote(student, safe='')}/transcripts", params=query)
        turns += page["items"]
        if not page["items"] or len(turns) >= page["total"]:
            return turns


@app.delete("/students/me")
async def forget(student: Student) -> Any:
    """Everything that this student said and heard is deleted, in Lectern, too."""
    app.state.lessons = {lesson: who for lesson, who in app.state.lessons.items() if who != student}
    return await ask("DELETE", f"/v1/students/{quote(student, safe='')}")


# -- pages --------------------------------------------------------------------------------------------------------


@app.get("/login")
async def login(name: str, to: str = "/lesson") -> RedirectResponse:
    answer = RedirectResponse(to if to.startswith("/") and not to.startswith("//") else "/lesson", 303)
    answer.set_cookie("student", quote(name), httponly=True, samesite="lax")
    return answer


@app.get("/lesson")
async def lesson_page() -> FileResponse:
    return FileResponse(HERE / "lesson.html")


@app.get("/lesson.js")
async def lesson_script() -> FileResponse:
    return FileResponse(HERE / "lesson.js", media_type="text/javascript")
