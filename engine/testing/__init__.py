"""The public test kit: conformance suites that judge any log, station transport or projection, ours or yours."""
