"""The books: every attempt at every call, what it used and what it cost, kept through a kill."""
