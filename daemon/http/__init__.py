"""HTTP without a subject: the server, who may ask, and the shapes that every answer shares."""
