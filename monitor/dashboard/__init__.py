"""The live page that a browser gets at `/`."""
