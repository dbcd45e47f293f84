"""Differential privacy of what clients send: mechanisms, accounting, statement and audit."""
