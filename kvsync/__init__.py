"""Follow the KV-cache events of LLM engines, and route each request to the pod that holds its prefix."""
