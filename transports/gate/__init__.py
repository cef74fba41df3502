"""How many are let in at a time: handshakes under way, rates, and whether we can bear more. No sockets."""
