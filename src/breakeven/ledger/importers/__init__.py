"""Usage from the logs and reports of others: one module for each source, each with what its counts mean."""
