"""What Lectern costs and how fast it is, measured on the spot."""
