"""What an operator touches: configuration, command line, HTTP API, dashboard, metrics, simulator, wiring."""
