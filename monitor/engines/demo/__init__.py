"""The demo engine: workflows that are built in, run in this process, told through the same door as everybody's."""

from monitor.engines.demo.engine import DemoEngine

__all__ = ["DemoEngine"]
