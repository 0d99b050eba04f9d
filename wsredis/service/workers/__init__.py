"""Several gateways that share their ports, below one parent."""
