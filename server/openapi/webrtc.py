"""The operations that connect viewers: WHEP, the WebSocket, RTVI."""

from __future__ import annotations

from server.openapi import answers
from server.openapi.codes import OFFER
from server.openapi.operation import WAIT, Answer, Body, Header, Operation, Parameter, json_body
from server.rtc.offer import MAX_CHARS
from server.rtvi.api import RtviCandidates, RtviOffer, Start
from server.whep import FRAGMENT, SDP

_WAIT = {"type": "string", "enum": ["0", "1"]}
_OFFER = {"type": "string", "maxLength": MAX_CHARS, "pattern": "^v=0"}
_FRAGMENT = {"type": "string", "maxLength": MAX_CHARS}
_ETAG = Header("ETag", "Names the connection's ICE session.")
_RTVI = (*OFFER, "viewer_not_found", "renegotiation_unsupported")

OPERATIONS = (
    Operation(
        "POST",
        "/v1/sessions/{session_id}/whep",
        "watch",
        "WebRTC",
        "bearer",
        "Watch: WHEP",
        {
            201: Answer(
                "The SDP answer.",
                {"type": "string"},
                SDP,
                (
                    Header("Location", "The connection's address."),
                    _ETAG,
                    Header("Accept-Patch", "What its address takes."),
                    Header("Link", "ICE servers.", required=False),
                ),
            )
        },
        Body({SDP: _OFFER}),
        problems=(*OFFER, "too_large", "unsupported_media_type", "request_timeout"),
        text="draft-ietf-wish-whep. Send the offer at once: gathering need not be waited for.",
    ),
    Operation(
        "PATCH",
        "/v1/sessions/{session_id}/whep/{peer_id}",
        "trickle",
        "WebRTC",
        "bearer",
        "Further candidates",
        {204: Answer("They were taken.", headers=(_ETAG,))},
        Body({FRAGMENT: _FRAGMENT}),
        (Parameter("If-Match", "The answer's ETag, or *.", {"type": "string"}, "header", required=True),),
        (
            "viewer_not_found",
            "etag_required",
            "etag_mismatch",
            "ice_restart_unsupported",
            "bad_sdp",
            "sdp_too_large",
            "too_large",
            "unsupported_media_type",
            "request_timeout",
        ),
    ),
    Operation(
        "DELETE",
        "/v1/sessions/{session_id}/whep/{peer_id}",
        "leave",
        "WebRTC",
        "bearer",
        "Stop watching",
        {200: Answer("The connection has gone.")},
        problems=("viewer_not_found",),
    ),
    Operation(
        "GET",
        "/v1/webrtc/config",
        "webrtcConfig",
        "WebRTC",
        "service",
        "ICE servers",
        {200: Answer("For a client that makes its own connection.", answers.IceServers)},
    ),
    Operation(
        "GET",
        "/ws/{session_id}",
        "socket",
        "WebRTC",
        "token",
        "The session's WebSocket",
        {101: Answer("Messages as in docs/protocol.md.")},
        parameters=(Parameter("wait", "1: where a sleeping session finds no room, it joins the line.", _WAIT),),
        problems=("too_many_sockets", "at_capacity", "draining", "not_ready", "damaged", "disk_full"),
    ),
    Operation(
        "POST",
        "/v1/sessions/{session_id}/rtvi",
        "rtviOffer",
        "Other clients",
        "token",
        "Connect a public RTVI client",
        {200: Answer("The SDP answer.", answers.RtviAnswer)},
        json_body(RtviOffer),
        problems=_RTVI,
    ),
    Operation(
        "PATCH",
        "/v1/sessions/{session_id}/rtvi",
        "rtviCandidates",
        "Other clients",
        "token",
        "Its further candidates",
        {200: Answer("They were taken.", answers.Success)},
        json_body(RtviCandidates),
        problems=("bad_sdp", "sdp_too_large", "viewer_not_found"),
    ),
    Operation(
        "POST",
        "/v1/rtvi/start",
        "rtviStart",
        "Other clients",
        "service",
        "Start a session as an RTVI client does",
        {
            200: Answer("It runs.", answers.RtviStarted),
            202: Answer("There is no room, and it waits in line.", answers.RtviWaits, headers=(WAIT,)),
        },
        json_body(Start, {"avatar_id": "ada", "student_id": "s1"}),
        problems=(
            "unknown_tutor",
            "unknown_voice",
            "invalid_id",
            "not_found",
            "not_ready",
            "avatar_failed",
            "damaged",
            "disk_full",
            "at_capacity",
            "student_being_deleted",
            "draining",
        ),
    ),
    Operation(
        "POST",
        "/v1/rtvi/sessions/{session_id}/api/offer",
        "rtviStartedOffer",
        "Other clients",
        "session",
        "Connect to a session that was started so",
        {200: Answer("The SDP answer.", answers.RtviAnswer)},
        json_body(RtviOffer),
        problems=_RTVI,
    ),
    Operation(
        "PATCH",
        "/v1/rtvi/sessions/{session_id}/api/offer",
        "rtviStartedCandidates",
        "Other clients",
        "session",
        "Its further candidates",
        {200: Answer("They were taken.", answers.Success)},
        json_body(RtviCandidates),
        problems=("bad_sdp", "sdp_too_large", "viewer_not_found"),
    ),
)
