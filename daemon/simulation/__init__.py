"""The other side, played: stations that dial in, a receiver of webhooks, and the judge of what they saw."""
