"""Pure answers over the log, as projections: values that the engine folds events with.

`presence` says which stations are online, `registry` which are known, `webhooks` who is told what, `outbox` which
messages are owed, `feed` what there is to pull, `settling` who has yet to settle, `sessions` which connections are open
and how others ended, `conflicts` which identities two devices fight over, `refusals` who was turned away, `deliveries`
how webhooks fared over time. Each name is the projection itself; the words of its state are in the module of the same
name. `uptime` is no projection but a measure over a window of time: its words are in the module of that name.
"""

from __future__ import annotations

from .conflicts import conflicts as conflicts
from .deliveries import deliveries as deliveries
from .feed import feed as feed
from .outbox import outbox as outbox
from .presence import presence as presence
from .refusals import refusals as refusals
from .registry import registry as registry
from .sessions import sessions as sessions
from .settling import settling as settling
from .webhooks import webhooks as webhooks
