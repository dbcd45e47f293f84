"""What a GPU makes of the stacked engines, see `__main__`."""
