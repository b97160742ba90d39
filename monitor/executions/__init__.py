"""Executions: the desk between the faces and the rest, one function per use case, each for a principal."""
