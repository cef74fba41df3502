"""What can be set, in which words, from which sources."""
