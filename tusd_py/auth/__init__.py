"""Who asks: from a token to claims."""
