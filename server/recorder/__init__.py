"""Recordings of sessions, and what else a session is sent to: RTMP and WHIP servers."""
