"""A viewer's way into a session, the same for WHEP and for the WebSocket's webrtc_offer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from server.log_context import about
from server.problems import ProblemError, at_capacity
from server.rtc.addresses import place_of
from server.rtc.data_channel import ChannelSink, DataChannel
from server.rtc.offer import BadOffer, read_offer
from server.rtc.private_ice import NoPortError, NoRelayError
from server.rtc.registry import Entry, PeerRegistry, TooManyPeersError
from server.sessions import Session

if TYPE_CHECKING:
    from pipeline.session import LiveSession

MOST_MICROPHONES = 4
"""Of a session's connections that may send sound: each costs a decoding thread. Further ones only watch."""


class SessionLookup(Protocol):
    """What joining needs of server.sessions.Sessions."""

    def authorise(self, session_id: str, token: str | None) -> Session:
        """Raises ProblemError: 404 for an unknown session, 401 for a wrong token."""

    async def wake(self, session: Session) -> LiveSession: ...

    def present(
        self, session: Session, ender: Callable[[], Awaitable[None]] | None = None
    ) -> AbstractContextManager[None]: ...


async def join(
    sessions: SessionLookup,
    peers: PeerRegistry,
    session: Session,
    offer: str,
    client: str | None,
    *,
    talk: Callable[[DataChannel], ChannelSink] | None = None,
) -> tuple[Entry, str]:
    """Answer a viewer's offer; the session counts the viewer as present until its connection has gone.

    client: the address that the offer came from. talk: gives who talks in the viewer's data channel; without it there
    is none. Raises ProblemError: 400 and 422 with the codes of BadOffer, 503 at_capacity and turn_unavailable, 504.
    """
    try:
        data = talk is not None
        checked = read_offer(offer, data=data)
        live = await sessions.wake(session)
        hearing = session.hearing
        if hearing is not None and peers.microphones(session.id) < MOST_MICROPHONES:
            checked = read_offer(offer, listen=True, data=data)
        with about(session.id):
            return await peers.connect(
                session.id,
                live,
                live.video.codec,
                checked,
                place=place_of(client),
                microphone=hearing.open if hearing is not None else None,
                talk=talk,
                presence=lambda entry: sessions.present(session, _ender(peers, entry)),
            )
    except BadOffer as error:
        raise refusal(error) from error
    except TooManyPeersError as error:
        raise at_capacity(str(error), error.retry_after) from error
    except NoPortError as error:
        raise at_capacity("No UDP port is free for a further viewer; see WEBRTC_PORT_MIN and _MAX.", 10) from error
    except NoRelayError as error:
        raise ProblemError(
            503,
            "turn_unavailable",
            f"Sound and picture go through a TURN server here, and there is no way to it: {error}.",
            headers={"Retry-After": "10"},
        ) from error
    except TimeoutError as error:
        raise ProblemError(504, "answer_timeout", "The answer could not be made in time. Try again.") from error


def refusal(error: BadOffer) -> ProblemError:
    """A bad offer or candidate as a problem."""
    return ProblemError(422 if error.understood else 400, error.code, str(error))


def _ender(peers: PeerRegistry, entry: Entry) -> Callable[[], Awaitable[None]]:
    async def end() -> None:
        await peers.close_peer(entry.session_id, entry.id, "session_ended")

    return end
