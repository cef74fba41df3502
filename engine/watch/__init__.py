"""Watching stations: who is admitted, who still lives, how long the fallen of an ended run are waited for.

Everything here is told the time and does no I/O; the run loop (`engine.run`) drives it.
"""
