"""Tokens, certificates and their issuers: what proves a service beside an API key."""
