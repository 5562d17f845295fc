"""The lip-sync engines: warp (CPU, always there) and musetalk (GPU)."""
