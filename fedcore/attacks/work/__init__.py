"""Attacks on local work: what malicious clients do otherwise while they train."""
