"""Stations and webhooks: how they are changed, how a station proves who it is, and where all of that is written."""
