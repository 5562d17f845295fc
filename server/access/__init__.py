"""Who may call and how often: keys and their roles, students' tokens, rate limits, and what protects browsers."""
