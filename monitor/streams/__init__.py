"""Streams: live frames to WebSocket and SSE subscribers on one URL."""
