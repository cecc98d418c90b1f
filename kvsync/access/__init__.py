"""Who may reach the gateway, and how it reaches engines: client keys and certificates."""
