"""`/topics`: what waits on the bus, how far it is drained, and the newest messages of a topic, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from spotlightd.query.errors import bad_parameter, not_found
from spotlightd.web import responses
from spotlightd.web.parts import topic_reader
from spotlightd.web.parts.topic_reader import MESSAGES, NO_BUS, Message, Partition, TopicStatus
from spotlightd.web.routes import NAME, Route
from spotlightd.web.state import APP_STATE, ExplorerContext

_MOST_PARTITION, _MOST_OFFSET = 65_535, (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages of a partition, newest first: offsets from `first` up to `end`. `error`: why there are none."""

    messages: Sequence[Message] = ()
    first: int = 0
    end: int = 0
    is_newest: bool = False
    error: str = ""


async def show_topics(request: web.Request) -> web.StreamResponse:
    context = request.app[APP_STATE].context
    topics = [await topic_reader.read_status(context, stream) for stream in context.streams]
    error = NO_BUS if context.bus is None else ""
    if request.path.endswith(".json"):
        document = {"topics": [_status_to_json(topic) for topic in topics], "error": error}
        return responses.json_response(request, document)
    return responses.render_page(request, "topics.html", {"topics": topics, "error": error})


async def show_topic(request: web.Request) -> web.StreamResponse:
    """The newest messages of one partition, or those below the offset `before`."""
    name = request.match_info["name"]
    context = request.app[APP_STATE].context
    stream = next((stream for stream in context.streams if stream.name == name), None)
    if stream is None:
        names = ", ".join(stream.name for stream in context.streams) or "none"
        raise not_found(f"There is no topic {name!r}.", f"The streams that are configured here: {names}.")
    if unknown := [parameter for parameter in request.query if parameter not in ("partition", "before")]:
        raise bad_parameter(unknown[0], "there is no such parameter", "Use partition= and before=.")
    number = _read_number(request, "partition", _MOST_PARTITION) or 0
    before = _read_number(request, "before", _MOST_OFFSET)
    topic = await topic_reader.read_status(context, stream)
    partition = next((partition for partition in topic.partitions if partition.number == number), None)
    if partition is None and topic.partitions:
        raise not_found(f"{name} has no partition {number}.", f"It has {len(topic.partitions)}, counted from 0.")
    page = await _read_page(context, topic, partition, before)
    if request.path.endswith(".json"):
        return responses.json_response(request, _topic_to_json(topic, partition, page))
    return responses.render_page(request, "topic.html", {
        "topic": topic, "partition": partition, "page": page, "page_size": MESSAGES,
    })  # fmt: skip


async def _read_page(
    context: ExplorerContext, topic: TopicStatus, partition: Partition | None, before: int | None
) -> MessagePage:
    if partition is None or context.bus is None:
        return MessagePage(error=topic.error)
    wanted_end = partition.end if before is None else before
    messages, error = await topic_reader.read_messages(context.bus, topic, partition, wanted_end)
    end = min(wanted_end, partition.end)
    first = max(end - MESSAGES, partition.start)
    return MessagePage(messages, first, end, end >= partition.end, error or topic.error)


def _status_to_json(topic: TopicStatus) -> dict[str, Any]:
    partitions = [{**asdict(partition), "kept": partition.retained} for partition in topic.partitions]
    return {**asdict(topic), "partitions": partitions}


def _topic_to_json(topic: TopicStatus, partition: Partition | None, page: MessagePage) -> dict[str, Any]:
    older = (
        f"/topics/{topic.name}.json?partition={partition.number}&before={page.first}"
        if partition and page.first > partition.start
        else None
    )
    return {
        "topic": _status_to_json(topic),
        "partition": partition.number if partition else None,
        "error": page.error,
        "messages": [asdict(message) for message in page.messages],
        "older": older,
    }


def _read_number(request: web.Request, name: str, most: int) -> int | None:
    text = request.query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)) or int(text) > most:
        raise bad_parameter(name, f"{text!r} is not a whole number from 0 to {most}")
    return int(text)


ROUTES = (
    Route("/topics", show_topics),
    Route("/topics.json", show_topics),
    Route(f"/topics/{NAME}", show_topic),
    Route(f"/topics/{NAME}.json", show_topic),
)
