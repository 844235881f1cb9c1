"""Real bulk work in small: support tickets to tag, extract from and summarise. A client like any other."""
