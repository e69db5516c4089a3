"""Where records, leases and the outbox live: small contracts, one back end for all of them."""
