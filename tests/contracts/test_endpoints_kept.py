"""Endpoints that were read are kept, within bounds: whoever plans reads all of them after every change of one."""

import tracemalloc

from msgspec.structs import replace

from monitor.store.ledger import encode, keyed
from tests.support.webhooks import make_endpoint


def test_all_endpoints_of_a_large_deployment_are_decoded_once() -> None:
    """Ten thousand of them, read in order again and again, are the same objects."""
    bodies = [encode(make_endpoint(f"wh_{key}")) for key in range(10_000)]
    first = [keyed(key, body) for key, body in enumerate(bodies)]
    assert all(keyed(key, body) is first[key] for key, body in enumerate(bodies))


def test_one_version_of_an_endpoint_is_kept() -> None:
    """Changing a large one without end takes no memory; whoever reads an older version gets that one."""
    large = make_endpoint(filters={"workflowId": [f"{number:03d}{'x' * 500}" for number in range(100)]})
    tracemalloc.start()
    for version in range(100):
        assert keyed(1, encode(replace(large, updated_us=version))).updated_us == version
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept_bytes < 1_000_000
    assert keyed(1, encode(large)) == replace(large, key=1)
