"""The history of the schema. Each revision is written out in full and never changes after a release."""
