"""Policies for tests: one that only watches, and one that answers what was not judged."""

from safer_protocol.policy import PolicyFile, apply_policy
from safer_protocol.toolkit import default_toolkit

WATCHING = apply_policy(PolicyFile(name="watching", enforcement="shadow"), default_toolkit())
TOLERANT = apply_policy(PolicyFile(name="tolerant", unjudged="allow"), default_toolkit())
