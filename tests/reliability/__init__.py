"""Commands that kill, stop and repeat suites, and count what is left: see docs/reliability.md."""
