"""The mask machine: which tokens may come next, exactly, for every plan and every engine."""
