"""How clients are met: their connections, and what they send."""
