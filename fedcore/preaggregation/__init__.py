"""Pre-aggregation: steps that mix a cohort's updates before any strategy sees them."""
