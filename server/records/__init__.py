"""What outlives a session: tutors, sessions and their transcripts, in SQLite or PostgreSQL."""
