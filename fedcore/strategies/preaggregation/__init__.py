"""Pre-aggregation: what is done to a cohort's updates before a strategy sees them."""
