"""Who may call and what they may spend: keys, budgets, rate limits, idempotency, shared by several gateways."""
