"""The native API under `/v1`: each file holds the routes of one subject and takes what it needs as arguments."""
