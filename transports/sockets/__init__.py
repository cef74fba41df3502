"""TCP sockets: listening and accepting, and what the kernel does for us and knows of a peer."""
