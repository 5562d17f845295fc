"""LiveTalking's HTTP interface, for clients that were written for it and move over: docs/livetalking.md."""
