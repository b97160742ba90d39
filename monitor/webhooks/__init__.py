"""Webhooks: who wants to be told, what is owed to them, how it is signed and when it is tried again."""
