"""Three small workflows that show what there is to see: one fails sometimes, one loops, one waits."""

from collections.abc import Mapping
from typing import Final

from monitor.engines.demo.execution import DemoExecution, Items, Node, Workflow

# --- demo-flaky: an order whose payment does not always go through ----------------------------------------------------

_ORDER: Final = Node("order", "Order received", "webhook", 0.2)
_STOCK: Final = Node("stock", "Check stock", "http", 0.6)
_CHARGE: Final = Node("charge", "Charge card", "http", 0.8)
_RECEIPT: Final = Node("receipt", "Send receipt", "email", 0.5)
_NOTIFY: Final = Node("notify", "Tell the team", "slack", 0.3)

_CHARGES: Final = 3
# Three in a row fail in one execution of six: often enough to be seen within a minute.
_CHARGE_FAILS: Final = 0.55


async def _flaky(run: DemoExecution) -> Items:
    order = {"orderId": run.chance.randrange(1000, 10_000), "total": run.chance.randrange(500, 20_000) / 100}
    await run.visit(_ORDER, _item(order), says=f"Order {order['orderId']} over {order['total']:.2f}")
    await run.visit(_STOCK, _item({"available": True}), says="Everything is in stock")
    await _charge(run, order)
    await run.visit(_RECEIPT, _item({"sent": True}), says="Receipt sent to customer@example.com")
    return await run.visit(_NOTIFY, _item({"ok": True, **order}), says="Posted to #orders")


async def _charge(run: DemoExecution, order: dict[str, float]) -> None:
    for attempt in range(1, _CHARGES + 1):
        if run.chance.random() >= _CHARGE_FAILS:
            await run.visit(_CHARGE, _item({"charged": order["total"]}), says="Payment accepted", attempt=attempt)
            return
        message = "The payment service answered 503 Service Unavailable"
        await run.stumble(_CHARGE, message, attempt=attempt, gives_up=attempt == _CHARGES)


# --- demo-loop: a report over several customers -----------------------------------------------------------------------

_SCHEDULE: Final = Node("schedule", "Every morning", "schedule", 0.1)
_FETCH: Final = Node("fetch", "Fetch customers", "postgres", 0.5)
_ENRICH: Final = Node("enrich", "Enrich customer", "code", 0.4)
_STORE: Final = Node("store", "Store profile", "http", 0.3)
_REPORT: Final = Node("report", "Mail report", "email", 0.4)

_CUSTOMERS: Final = ("Ada", "Barbara", "Grace", "Katherine", "Margaret", "Radia")


async def _loop(run: DemoExecution) -> Items:
    customers = _CUSTOMERS[: run.chance.randint(3, len(_CUSTOMERS))]
    run.expect((_ENRICH, _STORE), len(customers))
    await run.visit(_SCHEDULE, _item({"hour": 7}), says="Good morning")
    await run.visit(_FETCH, _items(customers), says=f"{len(customers)} customers")
    for iteration, name in enumerate(customers):
        profile = {"name": name, "score": run.chance.randrange(100)}
        await run.visit(_ENRICH, _item(profile), says=f"{name} scores {profile['score']}", iteration=iteration)
        await run.visit(_STORE, _item({"stored": name}), says=f"Profile of {name} stored", iteration=iteration)
    return await run.visit(_REPORT, _item({"customers": len(customers)}), says="Report sent")


# --- demo-wait: a request that cools off before it is published -------------------------------------------------------

_FORM: Final = Node("form", "Form submitted", "form", 0.2)
_DRAFT: Final = Node("draft", "Prepare draft", "code", 0.5)
_COOL_OFF: Final = Node("cool-off", "Wait for objections", "wait", 0.0)
_PUBLISH: Final = Node("publish", "Publish", "http", 0.6)

_COOL_OFF_S: Final = 8.0


async def _wait(run: DemoExecution) -> Items:
    draft = _item({"title": f"Proposal {run.chance.randrange(1, 500)}"})
    await run.visit(_FORM, draft, says="A proposal came in")
    await run.visit(_DRAFT, draft, says="The draft is ready")
    await run.park(_COOL_OFF, _COOL_OFF_S, draft)
    return await run.visit(_PUBLISH, _item({"published": True}), says="Nobody objected: published")


def _item(said: Mapping[str, object]) -> Items:
    return [{"json": said}]


def _items(names: tuple[str, ...]) -> Items:
    return [{"json": {"name": name}} for name in names]


WORKFLOWS: Final = {
    workflow.id: workflow
    for workflow in (
        Workflow("demo-flaky", "Demo: flaky payment", (_ORDER, _STOCK, _CHARGE, _RECEIPT, _NOTIFY), _flaky),
        Workflow("demo-loop", "Demo: loop over customers", (_SCHEDULE, _FETCH, _ENRICH, _STORE, _REPORT), _loop),
        Workflow("demo-wait", "Demo: wait for objections", (_FORM, _DRAFT, _COOL_OFF, _PUBLISH), _wait),
    )
}
