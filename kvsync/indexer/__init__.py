"""What follows the events of pods and says which of them hold a prompt: here, or in a process of its own."""
