"""Judging: a model scores whole replies by a rubric, and what it says is kept line by line."""
