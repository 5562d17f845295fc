"""Models from a hub: asking it, and having its files whole on disk."""
