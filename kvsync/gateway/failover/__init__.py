"""When another pod is asked, and when not: decisions without input or output."""
