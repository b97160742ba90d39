"""Engines: what runs workflows and accepts commands. The port is `base`; `demo` runs workflows that are built in."""
