"""The journal: port in `base`, drivers opened by their `open_*` functions."""
