"""Copies of a log: made beside a running daemon, handed on as text, and taken up again.

Whatever is copied is checked event by event on the way (`witness`), so that a copy which is there is a whole one. A
copy is mute: it sends nothing before somebody adopts it. `backup` and `restoring` copy the file, `exporting` and
`importing` the events as lines of JSON (`lines`).
"""
