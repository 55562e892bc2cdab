"""A stand-in for vLLM's server: its command line, API, metrics and life cycle, without a model."""
