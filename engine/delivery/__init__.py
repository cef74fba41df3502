"""Delivering messages: what is tried next and when, what an answer means, and the loop that sends and records."""
