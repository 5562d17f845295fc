"""A teacher's video -> an avatar on disk. Knows no sessions and no engines."""
