"""The edges: stations in over WebSocket or in memory, webhooks out over HTTP."""
