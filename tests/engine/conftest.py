"""What the tests of deliveries start from."""

from __future__ import annotations

import pytest
from mailroom import Gateway, Receiver


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def gateway(receiver: Receiver) -> Gateway:
    gateway = Gateway(receiver)
    gateway.start()
    gateway.subscribe()
    return gateway
