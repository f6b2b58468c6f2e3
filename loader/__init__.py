"""How the API of `source_config.py` is loaded, one resource per run."""
