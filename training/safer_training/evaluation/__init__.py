"""Evaluation: suites, the targets that reply to them, judges, figures and reports."""
