"""Telemetry: what the service says about itself: metrics, health and log lines."""
