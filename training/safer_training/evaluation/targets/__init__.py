"""Targets of an evaluation: whatever replies to a question."""
