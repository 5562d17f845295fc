"""A session as the API shows it."""

from __future__ import annotations

import time
from typing import Any

from server.gate import queue_position
from server.session import Session, iso
from server.sessions import Sessions


def summary(sessions: Sessions, session: Session, viewers: int) -> dict[str, Any]:
    """No token in it. viewers: connections that get its picture and sound. position and estimated_seconds only while
    it waits.
    """
    return {
        "session_id": session.id,
        "status": sessions.status(session),
        "avatar_id": session.avatar_id,
        "tutor_id": session.tutor_id,
        "student_id": session.student_id,
        "kb_id": session.kb_id,
        "voice": session.voice,
        "viewers": viewers,
        "recording": session.recording_id is not None,
        "recording_id": session.recording_id,
        "outputs": len(session.outputs),
        "created_at": iso(session.created_at),
        "expires_at": iso(time.time() + sessions.remaining(session)),
        **waiting(sessions, session),
    }


def waiting(sessions: Sessions, session: Session) -> dict[str, Any]:
    """Its place in the line, as fields; none when it does not wait."""
    place = sessions.place(session)
    if place is None:
        return {}
    told = queue_position(place)
    return {"position": told.position, "estimated_seconds": told.estimated_seconds}
