"""What a server must stand: a flood, a thousand sessions, being killed, and half an hour of coming and going."""
