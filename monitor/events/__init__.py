"""Events: what engines tell us. Pure: bytes in, facts or named poison out."""
