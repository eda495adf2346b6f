"""Training and evaluation of checkpoints that speak the protocol."""
