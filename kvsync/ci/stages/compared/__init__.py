"""Whether what a stage measures got worse since the tested code left its base."""
