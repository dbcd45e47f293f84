"""W1 on fedcore and on frameworks of others, each in an environment of its own."""
