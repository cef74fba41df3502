"""Delivering messages: when each is tried (`scheduling`), what it takes, what an answer means, and what is recorded."""
