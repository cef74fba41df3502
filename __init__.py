"""Stationkeeper tells the truth about which charging stations are online.

The layout of the house (A -> B: A imports B; import-linter holds it to this):

    daemon -> transports -> engine
    daemon -> projections -> engine

    engine       what happened, kept, folded, run: events, codec, log, ledger, committer, liveness, fold, lanes, nursery
    projections  pure answers over the log: presence, registry, webhooks, outbox, sessions, uptime
    transports   the edges: stations in (WebSocket), webhooks out (HTTP), in memory
    daemon       what an operator touches: configuration, command line, HTTP API, dashboard, metrics, simulator, wiring

`engine` imports nothing of ours; `projections` are pure and do not know `transports`, nor the other way round.
This file holds this docstring and nothing else: test runners import it a second time under another name.
"""
