"""Keeping what a service has: its store built anew, copies of its files, and their return."""
