"""A driver for each peer, run in the peer's own environment; it reads `contacts` of the API at BASE_URL."""
