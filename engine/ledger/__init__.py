"""The ledger: how anybody can check that a log is the one that was written, without trusting who keeps it.

Every event's leaf is hashed into one tree (`tree`, RFC 6962), so that a root of 32 bytes stands for all events up to a
position. Roots are signed (`note`, `checkpoint`, as C2SP has them) and kept outside the log (`outside`), at most a
second or a thousand events after what they speak of (`keeper`). `proofs` shows that an event is in such a tree.
"""
