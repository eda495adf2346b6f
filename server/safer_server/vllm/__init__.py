"""What runs inside vLLM: the mask machine as its logits processor, and how such a vLLM is started."""
