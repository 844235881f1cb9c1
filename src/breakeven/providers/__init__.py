"""One seam for whoever answers a call."""
