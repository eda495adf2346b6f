"""Shared by all tests."""

from hypothesis import settings

# How long an example takes says more about what else the machine does than about the project.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
