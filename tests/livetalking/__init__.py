"""Clients of LiveTalking."""
