"""What people look at: the fleet, one station, the subscriptions, the documentation of the API."""
