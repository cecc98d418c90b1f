"""What stands between clients and the gateway: keys, and what is said of an open door."""
