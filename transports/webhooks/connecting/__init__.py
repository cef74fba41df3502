"""How a receiver is reached: names resolved, addresses checked, proxies, TLS, and who vouches for whom."""
