"""Engines: what turns a conversation into a token stream under a constraint."""
