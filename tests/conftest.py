"""Shared by all tests."""

import os
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings

os.environ["OMP_NUM_THREADS"] = "1"  # for torch: tests run side by side, and their models are small

# How long an example takes says more about what else the machine does than about the project.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

AUDIT = TemporaryDirectory(prefix="safer-audit-")
"""What servers record stays out of the folders of whoever runs the tests; apps are made while modules are imported, too."""
os.environ["SAFER_AUDIT_DIR"] = AUDIT.name
