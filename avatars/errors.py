# ruff: noqa: E501 - each message is one sentence on one line
"""What can go wrong with an avatar: stable codes, each with a sentence that tells a teacher what to do."""

from __future__ import annotations

MESSAGES: dict[str, str] = {
    # about the video or picture
    "unreadable": "This file is not a video or picture that can be read. Upload an MP4, MOV, MKV or WebM video, or a JPEG or PNG picture.",
    "unsupported": "This kind of video or sound-only file is not supported. Upload an MP4, MOV, MKV or WebM video (H.264, HEVC, VP8, VP9, AV1), or a JPEG or PNG picture.",
    "truncated": "The file ends in the middle of the video. It was probably not copied or uploaded to its end: try again.",
    "empty": "The file is empty. Choose the video again and upload it once more.",
    "too_large": "The picture or the file is larger than allowed. Record at 1080p or less, a minute at most, and try again.",
    "too_long": "The video is far too long. Cut out half a minute in which you look at the camera, and upload that.",
    "too_short": "The video is too short. Record at least five seconds, looking at the camera.",
    "no_face": "No face was found. Sit in front of the camera, well lit, your whole face in the picture.",
    "several_faces": "There is more than one face in the picture. Record yourself alone.",
    "face_too_small": "The face is too small in the picture. Move closer to the camera, head and shoulders in view.",
    "face_lost": "The face is out of view or turned away for more than a second. Look at the camera all the time.",
    "not_upright": "The face lies on its side or stands on its head. Turn the video upright and upload it again.",
    "too_dark": "The picture is too dark. Sit facing a window or a lamp.",
    "too_slow": "Reading this video took too much time. Record at 1080p and 30 frames a second or less, and try again.",
    "too_much_memory": "Reading this video took too much memory. Record at 1080p or less, and try again.",
    "no_segmentation": "The background cannot be blurred on this server: its segmentation model is not installed. Switch the blur off, or ask the operator to run: .venv/bin/python run.py models fetch faces",
    # about the avatar or the request
    "invalid_id": "An avatar's id is 1 to 64 letters, digits, dots, hyphens and underscores, and begins with a letter or digit.",
    "exists": "There is an avatar with this id already. Choose another id, or delete the old avatar first.",
    "not_found": "There is no avatar with this id.",
    "not_ready": "This avatar is not ready: wait until it is prepared.",
    "in_use": "This avatar is in use. End its sessions first, or wait until it is prepared.",
    "forbidden_path": "This path is not inside the folders that videos may be taken from (avatars.import_dirs).",
    "no_such_file": "There is no such video file in the import folder.",
    "busy": "Too many avatars are waiting to be prepared. Try again in a few minutes.",
    "cancelled": "The preparation was cancelled.",
    # about the server
    "disk_full": "The server's disk is full. Ask the operator to make room, then try again.",
    "interrupted": "The preparation was interrupted, more than once. Upload the video again.",
    "models_missing": "The face models are not installed on this server. Ask the operator to run: .venv/bin/python run.py models fetch faces",
    "engine_failed": "The lip-sync engine could not prepare this face. Try again; if it fails again, tell the operator.",
    "damaged": "This avatar's files are damaged. Delete it and create it again.",
    "internal": "Something went wrong while the avatar was prepared. Try again; if it fails again, tell the operator.",
}


class AvatarError(Exception):
    """An avatar could not be made, found or changed. `code` is stable (a key of MESSAGES); str() is for people."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or MESSAGES[code])
        self.code = code
