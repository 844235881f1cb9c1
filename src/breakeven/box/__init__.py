"""The local machine: its engine, its models, its occupancy, its power."""
