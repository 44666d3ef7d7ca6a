"""How long rows and documents stay on the disk now: a shorter rule is reported, and waits for a day."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

from spotlightd.log import logger
from spotlightd.model.partition import RetentionRule, decide_rule
from spotlightd.ports.ledger import ArchiveLedger

DescribeLeaving = Callable[[RetentionRule], Awaitable[str]]
"""What would leave under the shorter rule, as a clause."""


FindFilled = Callable[[], Awaitable[AbstractSet[str]]]
"""The names under which there are data already."""


async def decide_rules(
    ledger: ArchiveLedger, configured: Mapping[str, int], now: datetime, find_filled: FindFilled
) -> dict[str, RetentionRule]:
    """The rules of these names, as they are in force now. `configured` are the days of the settings."""
    known = await ledger.retention_rules()
    filled = await find_filled() if configured.keys() - known.keys() else frozenset[str]()
    return {
        name: decide_rule(known.get(name), name, days, now, is_new=name not in filled)
        for name, days in configured.items()
    }


async def update_rules(
    ledger: ArchiveLedger, configured: Mapping[str, int], now: datetime, find_filled: FindFilled
) -> dict[str, RetentionRule]:
    """As `decide_rules`, and recorded."""
    known, rules = await ledger.retention_rules(), await decide_rules(ledger, configured, now, find_filled)
    for name, rule in rules.items():
        if rule != known.get(name):
            await ledger.save_retention_rule(rule)
    return rules


async def report_shortened(
    rules: Mapping[str, RetentionRule], reported: set[RetentionRule], describe_leaving: DescribeLeaving
) -> tuple[str, ...]:
    """A sentence for each shorter rule that waits. Each is logged once: `reported` has those that were."""
    alarms = {rule: rule.describe(await describe_leaving(rule)) for rule in rules.values() if rule.is_waiting}
    for rule in alarms.keys() - reported:
        logger(dataset=rule.name).error(
            "retention shortened",
            days=rule.configured,
            was=rule.days,
            at=rule.starts_at.isoformat(),
            detail=alarms[rule],
        )
    reported.update(alarms)
    return tuple(alarms.values())
