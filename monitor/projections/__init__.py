"""Projections: the live state of every execution, folded from its events. Pure: same events, same state, any order."""
