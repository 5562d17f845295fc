"""The outputs of all sessions: begun and stopped, and ended with their session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from pipeline.events import OutputStarted, OutputStopped
from pipeline.outputs.link import Link
from pipeline.outputs.rtmp import RtmpLink
from server.problems import ProblemError
from server.recorder.output import Output
from server.recorder.targets import BadTarget, Kind, Target, read_target, whip_allowed
from server.recorder.whip import WhipLink
from server.rtc.settings import RtcSettings
from server.session import Session
from server.sessions import Open, Sessions

if TYPE_CHECKING:
    from pipeline.session import LiveSession
    from pipeline.stats import SessionStats
    from server.admission import Refusal

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 8.0


class Outputs:
    """Implements server.sessions.Observer, and follows their opening. On the event loop.

    hosts: those that outputs may go to; none: outputs are off. most: of a session. give_up: seconds without a
    connection after which an output fails for good. codec: of sessions' pictures.
    """

    def __init__(self, hosts: Sequence[str], *, most: int, give_up: float, codec: str, rtc: RtcSettings) -> None:
        self._hosts = tuple(hosts)
        self._most = most
        self._give_up = give_up
        self._codec = codec
        self._rtc = rtc
        self._outputs: dict[str, dict[str, Output]] = {}  # by session
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by output

    async def close(self) -> None:
        """Stop all, and wait until they have said goodbye."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)

    # -- what is there ------------------------------------------------------------------------------------------

    def of(self, session: Session) -> list[Output]:
        """In the order in which they were begun."""
        return list(self._outputs.get(session.id, {}).values())

    def all(self) -> list[Output]:
        """Of all sessions."""
        return [output for outputs in self._outputs.values() for output in outputs.values()]

    def find(self, session: Session, output_id: str) -> Output:
        """404 output_not_found."""
        output = self._outputs.get(session.id, {}).get(output_id)
        if output is None:
            raise ProblemError(404, "output_not_found", "This session has no such output; see the list of them.")
        return output

    # -- begin and end ------------------------------------------------------------------------------------------

    async def begin(self, sessions: Sessions, session: Session, kind: Kind, url: str, token: str) -> Output:
        """It connects by itself; the session stays awake meanwhile. 503 outputs_off and those of waking, 403
        output_forbidden, 422 invalid_request and codec_unsupported, 409 too_many_outputs.
        """
        target = self._checked(kind, url)
        self._check_room(session)
        await sessions.wake(session)
        self._check_room(session)
        output = Output(kind, target, self._link(kind, target, token), session, self._give_up)
        self._outputs.setdefault(session.id, {})[output.id] = output
        session.outputs.add(output.id)
        task = asyncio.create_task(self._run(sessions, output), name=f"output {output.id}")
        self._tasks[output.id] = task
        task.add_done_callback(partial(self._done, output))
        log.info("output_started", session=session.id, output=output.id, kind=kind, host=target.host)
        session.emit(OutputStarted(output.id))
        return output

    async def stop(self, session: Session, output_id: str) -> None:
        """Returns when it has said goodbye. 404 output_not_found."""
        output = self.find(session, output_id)
        task = self._tasks.get(output.id)
        if task is not None:
            task.cancel()
            await asyncio.wait({task}, timeout=CLOSE_SECONDS)
        self._outputs.get(session.id, {}).pop(output.id, None)

    # -- sessions -----------------------------------------------------------------------------------------------

    def following(self, opening: Open) -> Open:
        """The same, but outputs go on with each live part that it opens."""

        async def opened(session: Session) -> LiveSession:
            live = await opening(session)
            for output in self.of(session):
                asyncio.get_running_loop().call_soon(output.opened.set)  # when the session has it
            return live

        return opened

    def created(self, session: Session) -> None:
        """Observer."""

    def refused(self, refusal: Refusal) -> None:
        """Observer."""

    def gone(self, session: Session, reason: str, stats: SessionStats | None) -> None:
        """Observer."""
        if session.ended:
            for output_id in self._outputs.pop(session.id, {}):
                task = self._tasks.get(output_id)
                if task is not None:
                    task.cancel()

    # -- inside -------------------------------------------------------------------------------------------------

    def _checked(self, kind: Kind, url: str) -> Target:
        if not self._hosts:
            raise ProblemError(
                503,
                "outputs_off",
                "Outputs are off on this server. Its operator names the hosts that they may go to in "
                "outputs.allowed_hosts.",
            )
        try:
            target = read_target(url, kind)
        except BadTarget as error:
            raise ProblemError(422, "invalid_request", f"{error}.") from error
        if not target.allowed(self._hosts):
            raise ProblemError(
                403, "output_forbidden", "This host is not one that outputs may go to (outputs.allowed_hosts)."
            )
        if kind == "rtmp" and self._codec != "h264":
            raise ProblemError(422, "codec_unsupported", "RTMP carries H.264 only: set video.codec to h264.")
        return target

    def _check_room(self, session: Session) -> None:
        if len(self._outputs.get(session.id, {})) >= self._most:
            raise ProblemError(
                409, "too_many_outputs", f"This session has {self._most} outputs already; DELETE one of them first."
            )

    def _link(self, kind: Kind, target: Target, token: str) -> Link:
        if kind == "rtmp":
            return RtmpLink(target.url)
        allowed: Callable[[str], bool] = partial(whip_allowed, hosts=self._hosts)
        return WhipLink(target.url, token, self._codec, self._rtc, allowed)

    async def _run(self, sessions: Sessions, output: Output) -> None:
        task = asyncio.current_task()
        assert task is not None

        async def end() -> None:
            task.cancel()

        with sessions.present(output.session, end):
            await output.run()

    def _done(self, output: Output, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(output.id, None)
        if not task.cancelled() and task.exception() is not None:
            output.state = "failed"
            log.error("output_broke", session=output.session.id, output=output.id, exc_info=task.exception())
        output.session.outputs.discard(output.id)
        log.info("output_stopped", session=output.session.id, output=output.id, state=output.state)
        output.session.emit(OutputStopped(output.id))
