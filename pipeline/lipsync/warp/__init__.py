"""The CPU engine: warps the mouth of the avatar's own frames to what the sound says."""
