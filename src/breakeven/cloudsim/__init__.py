"""A simulated cloud: a provider to test against, with its own token counts, its own invoice and faults on order."""
