"""Stations over WebSocket by trio-websocket, hardened from outside: two tasks a station."""
