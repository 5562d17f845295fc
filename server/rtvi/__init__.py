"""RTVI, the protocol of the public voice-bot clients: a session's events and commands in its messages."""
