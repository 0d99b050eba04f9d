"""Who a client is, what it may do, and whether it may stay."""
