"""The dialects: typed shapes, stream parsers, usage extraction. No network."""
