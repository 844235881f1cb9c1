"""Data with provenance: model prices, machines, electricity tariffs."""
