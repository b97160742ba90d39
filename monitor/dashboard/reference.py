"""The contract as a page for people: every operation, shape, error, event and metric, rendered from the document.

Pure. The page is whole without a script, which only searches, copies and puts this service's address into the examples.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from monitor.dashboard.curl import ORIGIN, curl
from monitor.dashboard.markup import Html, Part, prose, tag, words
from monitor.dashboard.shapes import members, shape_id, term, type_of
from monitor.web.catalogues import Catalogues

Json = dict[str, Any]


class Section(NamedTuple):
    """A part of the page with a heading."""

    id: str
    title: str
    about: str
    entries: list[Html]


_DOCUMENTS: Final = (
    ("/openapi.json", "OpenAPI"),
    ("/asyncapi.json", "AsyncAPI"),
    ("/metrics", "metrics now"),
    ("/", "live page"),
)


def reference(contract: Json, catalogues: Catalogues) -> bytes:
    """The page."""
    schemas = contract["components"]["schemas"]
    sections = [*_operations(contract, schemas), _shapes(schemas), *_lists(catalogues)]
    return f"<!doctype html>\n{_page(contract['info'], sections)}\n".encode()


def _page(info: Json, sections: list[Section]) -> Html:
    title = f"{info['title']} {info['version']}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", f"{title}: API"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("link", rel="icon", href="data:,"),
        tag("link", rel="stylesheet", href="/static/docs.css"),
        tag("script", type="module", src="/static/docs.js"),
    )
    body = tag(
        "body",
        tag("a", "To the contents", class_="skip", href="#contents"),
        tag("header", tag("h1", title), tag("p", words(info["description"])), _documents(), _search()),
        tag("nav", [_entrance(it) for it in sections], aria_label="Sections"),
        tag("main", [_section(it) for it in sections], id="contents", tabindex="-1"),
    )
    return tag("html", head, "\n", body, lang="en")


def _documents() -> Html:
    return tag("p", [(tag("a", name, href=address), " ") for address, name in _DOCUMENTS], class_="documents")


def _search() -> Html:
    return tag(
        "p",
        tag("label", "Search", for_="search"),
        tag(
            "input",
            id="search",
            type="search",
            placeholder="cancel, /v1/events, INVALID_CURSOR",
            autocomplete="off",
        ),
        tag("output", id="found", for_="search"),
        id="finder",
        role="search",
        hidden=True,
    )


def _entrance(section: Section) -> Html:
    return tag("a", section.title, href=f"#{section.id}")


def _section(section: Section) -> Html:
    heading = tag("h2", section.title, id=f"{section.id}-title")
    return tag(
        "section", heading, prose(section.about), section.entries, id=section.id, aria_labelledby=f"{section.id}-title"
    )


def _entry(entry_id: str, head: Part, *body: Part) -> Html:
    folded = tag("details", tag("summary", head), tag("div", *body, class_="body"))
    return tag("article", folded, id=entry_id, class_="entry")


# --- operations ------------------------------------------------------------------------------------------------------


def _operations(contract: Json, schemas: Json) -> Iterator[Section]:
    """Those of each tag, in the order of their addresses."""
    for kind in contract["tags"]:
        entries = [
            _operation(method, path, operation, schemas)
            for path, methods in contract["paths"].items()
            for method, operation in methods.items()
            if kind["name"] in operation["tags"]
        ]
        yield Section(f"of-{kind['name']}", kind["name"].capitalize(), kind["description"], entries)


def _operation(method: str, path: str, operation: Json, schemas: Json) -> Html:
    name = tag("span", method.upper(), class_="method", data_method=method)
    head = (tag("h3", name, " ", tag("code", path)), tag("span", operation["summary"], class_="quiet"))
    return _entry(
        operation["operationId"],
        head,
        prose(_beyond(operation["summary"], operation["description"])),
        tag("p", _scope(operation), class_="quiet"),
        _example(curl(method, path, operation, schemas)),
        _part("Parameters", [_parameter(it) for it in operation.get("parameters", ())]),
        _part("Body", _contents(operation.get("requestBody", {}), schemas)),
        _part("Answers", [_answer(status, it) for status, it in operation["responses"].items() if status < "400"]),
        _part("Errors", [_refusal(status, it) for status, it in operation["responses"].items() if status >= "400"]),
    )


def _beyond(summary: str, description: str) -> str:
    """What a description says that is not in the entry's head already."""
    return description.removeprefix(f"{summary}.").strip()


def _scope(operation: Json) -> Part:
    scopes = dict.fromkeys(scope for way in operation["security"] for named in way.values() for scope in named)
    named = ("Needs ", [tag("code", it) for it in scopes]) if scopes else "Needs no token"
    return (named, "; programs call it ", tag("code", operation["operationId"]), ".")


def _example(command: str) -> Html:
    before, origin, after = command.partition(ORIGIN)
    shown = tag("code", before, tag("span", origin, class_="origin"), after)
    copy = tag("button", "Copy", type="button", class_="copy", hidden=True)
    return tag("div", tag("pre", shown, tabindex="0", aria_label="Example"), copy, class_="example")


def _part(title: str, rows: list[Html]) -> Part:
    return (tag("h4", title), tag("dl", rows)) if rows else None


def _row(head: Html, *about: Part) -> Html:
    return tag("div", head, tag("dd", *about))


def _parameter(it: Json) -> Html:
    where = f" in {it['in']}" + (", required" if it.get("required") else "")
    head = term(it["name"], type_of(it["schema"]), where)
    return _row(head, words(it.get("description", "")), members(it["schema"]))


def _contents(said: Json, schemas: Json) -> list[Html]:
    return [_content(media_type, it["schema"], schemas) for media_type, it in said.get("content", {}).items()]


def _content(media_type: str, schema: Json, schemas: Json) -> Html:
    shape = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return _row(term(media_type, type_of(schema)), words(shape.get("description", "")), members(shape))


def _answer(status: str, said: Json) -> Html:
    kinds = [(tag("code", name), " ", type_of(it["schema"]), tag("br")) for name, it in said.get("content", {}).items()]
    headers = said.get("headers", {})
    told = tag("p", "Headers: ", [(tag("code", name), " ") for name in headers]) if headers else None
    return _row(term(status, words(said["description"])), kinds, told)


def _refusal(status: str, said: Json) -> Html:
    schema = next(iter(said["content"].values()))["schema"]
    codes = _codes(schema)
    return _row(term(status), [(tag("a", tag("code", it), href=f"#error-{it}"), " ") for it in codes])


def _codes(schema: Json) -> list[str]:
    """Of an answer that is an error; those that are another document name none."""
    named = schema.get("allOf", [{}])[-1].get("properties", {}).get("error", {}).get("properties", {})
    found: list[str] = named.get("code", {}).get("enum", [])
    return found


# --- lists -----------------------------------------------------------------------------------------------------------


def _shapes(schemas: Json) -> Section:
    entries = [_shape(name, schemas[name]) for name in sorted(schemas)]
    return Section("shapes", "Shapes", "What bodies and answers are made of.", entries)


def _shape(name: str, schema: Json) -> Html:
    head = (tag("h3", tag("code", name)), tag("span", words(schema.get("description", "")), class_="quiet"))
    return _entry(shape_id(name), head, members(schema) or tag("p", type_of(schema)))


def _lists(catalogues: Catalogues) -> Iterator[Section]:
    errors: dict[str, list[Mapping[str, Any]]] = {}
    for row in catalogues.errors:
        errors.setdefault(row["code"], []).append(row)
    yield Section("errors", "Errors", _OF_ERRORS, [_error(code, rows) for code, rows in errors.items()])
    events = [
        _plain(f"event-{it.name}", it.name, it.stream_class, it.doc + (" It is final." if it.final else ""))
        for it in catalogues.events
    ]
    yield Section("events", "Events", "Types of events, and how streams may treat them.", events)
    metrics = [
        _plain(f"metric-{it['name']}", it["name"], " by ".join([it["kind"], *it["labels"]]), it["meaning"])
        for it in catalogues.metrics
    ]
    yield Section("metrics", "Metrics", "What `/metrics` tells, in the Prometheus text format.", metrics)


_OF_ERRORS: Final = (
    'Every refusal is `{"error": {"code", "message", "timestamp", ...}}`. Programs go by `code`. Each with what helps.'
)


def _error(code: str, rows: list[Mapping[str, Any]]) -> Html:
    told = [tag("p", words(it)) for it in dict.fromkeys(str(row["message"]) for row in rows)]
    head = (tag("h3", tag("code", code)), tag("span", str(rows[0]["status"]), class_="quiet"))
    cure = tag("p", words(rows[0]["cure"]), class_="cure")
    return tag("article", *head, told, cure, id=f"error-{code}", class_="entry plain")


def _plain(entry_id: str, name: str, kind: str, about: str) -> Html:
    head = (tag("h3", tag("code", name)), tag("span", kind, class_="quiet"))
    return tag("article", *head, tag("p", words(about)), id=entry_id, class_="entry plain")
