"""The store: everything at rest but the journal. Port in `base`, drivers opened by their `open_*` functions."""
