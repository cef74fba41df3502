"""When each message is tried: lanes, their order and turns, rates, retries, breakers. Sans-IO; time is data."""
