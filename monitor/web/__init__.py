"""Web: what every HTTP face shares: who asks, strict parameters, answers and error envelopes."""
