"""The Autobahn test suite's fuzzing client against our station transports: `make autobahn`."""
