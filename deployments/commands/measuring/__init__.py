"""Commands about what the tested code costs."""
