"""The tables of sums over executions, and the words for what is counted. Projections, rebuilt from the journal."""

from monitor.store.columns import keyed as _keyed
from monitor.store.columns import number as _int
from monitor.store.columns import text as _text

# Cells of `projections.statistics`, in order of time: what ends now is written side by side.
statistics = _keyed(
    "statistics",
    _text("team", key=True),
    _int("hour", key=True),
    _text("workflow_id", key=True),
    _text("status", key=True),
    _text("trigger", key=True),
    _text("error", key=True),
    _int("bucket", key=True),
    _int("count"),
    _int("total_us"),
)

# Sums of them, by which questions about everything are answered.
rollups = _keyed(
    "rollups",
    _text("team", key=True),
    _int("facet", key=True),
    _int("grain", key=True),
    _int("at", key=True),
    _text("key", key=True),
    _text("status", key=True),
    _int("bucket", key=True),
    _int("count"),
    _int("total_us"),
)

run_statistics = _keyed(
    "run_statistics",
    _text("team", key=True),
    _int("hour", key=True),
    _text("workflow_id", key=True),
    _text("node_id", key=True),
    _text("status", key=True),
    _text("error", key=True),
    _int("bucket", key=True),
    _int("count"),
    _int("total_us"),
)

# The words for what is counted, which outlive the executions that told them.
workflow_names = _keyed(
    "workflow_names",
    _text("team", key=True),
    _text("workflow_id", key=True),
    _int("said_us"),
    _text("name"),
)

error_kinds = _keyed(
    "error_kinds",
    _text("team", key=True),
    _text("fingerprint", key=True),
    _text("type"),
    _text("pattern"),
)

# How many executions a list has: unlike the statistics, without deleted ones.
totals = _keyed(
    "totals",
    _text("team", key=True),
    _text("workflow_id", key=True),
    _text("status", key=True),
    _int("count"),
)
