"""Webhooks out: one signed attempt over HTTP/1.1 (`sender`), to an address that may be reached (`connecting`)."""
