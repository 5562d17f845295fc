"""Where a session's packets go besides its viewers: files and other servers, encoded once and sent as they are."""
