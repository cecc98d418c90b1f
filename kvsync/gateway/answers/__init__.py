"""What engines answer, as far as the gateway reads it."""
