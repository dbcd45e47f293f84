"""What the timing suites share: cases, references, and turns of measurement."""
