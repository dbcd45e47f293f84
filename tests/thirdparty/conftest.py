"""The packages of others in this folder have suites of their own, which are run installed."""

collect_ignore = ["acme"]
