"""Dialects: the one API in the spellings of others, at their original addresses.

Each file has four parts: tables of words, readers (request -> question or command), writers (execution -> document),
routes. None does anything itself: the desk does.
"""
