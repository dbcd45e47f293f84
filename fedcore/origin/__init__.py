"""What code a result comes from: digests of source files, and whether they are what runs."""
