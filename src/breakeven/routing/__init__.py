"""Which provider serves a call, and what happens when it does not."""
