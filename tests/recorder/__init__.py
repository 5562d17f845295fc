"""Recordings and other outputs of a session."""
