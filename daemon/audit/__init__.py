"""Whether a log is the one that was written: its events, what is folded from them, and who vouches for them.

`checkpoints` says what is vouched for from outside. `leaves` and `replay` look at every event in one pass, in as many
processes as help (`passes`, `processes`). `verdict` brings together what they found. `proof` is a file by which anybody
sees that an event is in a log, and `proving` makes it.
"""
