"""What an operator sees and does: /v1/admin/ and the figures behind the admin page."""
