"""The opening handshake as a machine: bytes in, a question or an answer out. No sockets, no clock, no trio."""
