"""Stations over WebSocket in one trio task over epoll: no task and no buffer for a station that is idle."""
