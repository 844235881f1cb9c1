"""Scenarios and traces put through the economics: what a person asks, answered with figures and their sources."""
