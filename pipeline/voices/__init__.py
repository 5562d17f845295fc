"""Voices: text -> speech, behind one small interface."""
