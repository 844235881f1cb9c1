"""A fleet of agents that wake on a schedule, take items through a chain of steps, and write each result once."""
