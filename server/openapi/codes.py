"""Every code that a problem may have over HTTP, with its status."""

from __future__ import annotations

from collections.abc import Iterable

CODES: dict[str, tuple[int, ...]] = {
    # any request
    "bad_request": (400,),
    "client_gone": (400,),
    "unauthorized": (401,),
    "forbidden": (403,),
    "forbidden_host": (403,),
    "forbidden_origin": (403,),
    "not_found": (404,),
    "method_not_allowed": (405,),
    "request_timeout": (408,),
    "too_many_requests": (429,),
    "too_large": (413,),
    "unsupported_media_type": (415,),
    "internal_error": (500,),
    # bodies
    "invalid_json": (400,),
    "bad_multipart": (400,),
    "invalid_request": (422,),
    # pages
    "page_missing": (404,),
    "docs_missing": (404,),
    # avatars
    "consent_required": (422,),
    "invalid_id": (422,),
    "exists": (409,),
    "in_use": (409,),
    "not_ready": (409,),
    "cancelled": (409,),
    "avatar_failed": (409,),
    "forbidden_path": (403,),
    "no_such_file": (422,),
    "unreadable": (422,),
    "unsupported": (422,),
    "truncated": (422,),
    "empty": (422,),
    "too_long": (422,),
    "too_short": (422,),
    "no_face": (422,),
    "several_faces": (422,),
    "face_too_small": (422,),
    "face_lost": (422,),
    "not_upright": (422,),
    "too_dark": (422,),
    "too_slow": (422,),
    "too_much_memory": (422,),
    "no_segmentation": (503,),
    "models_missing": (503,),
    "interrupted": (503,),
    "engine_failed": (500,),
    "damaged": (500,),
    "internal": (500,),
    "disk_full": (507,),
    "busy": (503,),
    # tutors and records
    "unknown_avatar": (422,),
    "avatar_shared": (409,),
    "records_unavailable": (503,),
    # sessions
    "unknown_tutor": (404,),
    "unknown_voice": (422,),
    "no_avatar": (409,),
    "at_capacity": (503,),
    "student_being_deleted": (409,),
    "waiting": (503,),
    "draining": (503,),
    "stopping": (409,),
    "session_not_found": (404,),
    "no_picture": (404,),
    "session_stopped": (409,),
    "wrong_token": (401,),
    "token_expired": (401,),
    "too_many_readers": (429,),
    "too_many_sockets": (429,),
    # speech
    "queue_full": (429,),
    "listening_unavailable": (503,),
    "audio_empty": (422,),
    "audio_unreadable": (422,),
    "audio_too_long": (413,),
    "cannot_say": (422,),
    "voice_failed": (502,),
    "voice_mute": (502,),
    "voice_stalled": (502,),
    "voice_unreachable": (502,),
    # recordings
    "recording_off": (503,),
    "recording_unavailable": (503,),
    "already_recording": (409,),
    "not_recording": (409,),
    "recording_running": (409,),
    "recording_not_found": (404,),
    "recording_empty": (404,),
    "recordings_full": (507,),
    # outputs
    "outputs_off": (503,),
    "output_forbidden": (403,),
    "output_not_found": (404,),
    "too_many_outputs": (409,),
    # LiveTalking
    "livetalking_off": (404,),
    "not_supported": (501,),
    # WebRTC
    "bad_sdp": (400, 422),
    "sdp_too_large": (400,),
    "no_media": (400, 422),
    "no_bundle": (422,),
    "codec_unsupported": (422,),
    "no_offer": (409,),
    "viewer_not_found": (404,),
    "turn_unavailable": (503,),
    "answer_timeout": (504,),
    "etag_required": (428,),
    "etag_mismatch": (412,),
    "ice_restart_unsupported": (422,),
    "renegotiation_unsupported": (422,),
}

ALWAYS = ("forbidden_host", "forbidden_origin", "bad_request", "too_many_requests")
JSON_BODY = ("invalid_json", "too_large", "unsupported_media_type", "invalid_request", "request_timeout")
FORM_BODY = ("bad_multipart", "too_large", "unsupported_media_type", "invalid_request", "request_timeout")
VIDEO = (
    "unreadable",
    "unsupported",
    "truncated",
    "empty",
    "too_long",
    "too_short",
    "no_face",
    "several_faces",
    "face_too_small",
    "face_lost",
    "not_upright",
    "too_dark",
    "too_slow",
    "too_much_memory",
)
SPEECH = (
    "at_capacity",
    "waiting",
    "draining",
    "session_stopped",
    "queue_full",
    "not_found",
    "not_ready",
    "damaged",
    "disk_full",
)
OFFER = (
    "bad_sdp",
    "sdp_too_large",
    "no_media",
    "no_bundle",
    "codec_unsupported",
    "at_capacity",
    "waiting",
    "draining",
    "turn_unavailable",
    "answer_timeout",
    "session_stopped",
    "not_ready",
    "damaged",
    "disk_full",
)


def by_status(codes: Iterable[str]) -> dict[int, list[str]]:
    """The codes under each status that they come with. Raises KeyError for one that is not listed."""
    found: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        for status in CODES[code]:
            found.setdefault(status, []).append(code)
    return dict(sorted(found.items()))
