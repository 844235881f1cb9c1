"""The ASGI edge: routes, keys, streaming, headers."""
