"""The OpenAPI document of the HTTP interface, and the page to try it."""
