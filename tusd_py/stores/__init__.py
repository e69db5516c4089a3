"""Where the bytes of uploads lie: one contract, one file per kind of store."""
