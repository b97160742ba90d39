"""Live state of workflow executions, told to everybody at once."""

__version__ = "0.1.0"
