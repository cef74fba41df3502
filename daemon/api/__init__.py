"""The HTTP API and the dashboard, as one ASGI application over a running engine; `app` makes it."""
