"""The checkup behind ``breakeven doctor``: readers gather facts, pure checks judge them, each with cause and remedy."""
