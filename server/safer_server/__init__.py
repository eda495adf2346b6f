"""The guard server: an OpenAI-compatible endpoint that returns a verified trace with each answer."""
