"""WebRTC: a session's packets to any number of browsers."""
