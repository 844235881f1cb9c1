"""From one dialect into another. Chat completions are the hub: the other dialects are translated to and from them."""
