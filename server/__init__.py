"""HTTP, WebRTC signalling, limits and pages. Knows aiohttp and aiortc."""
