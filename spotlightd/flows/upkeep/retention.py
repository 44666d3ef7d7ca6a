"""Settles how long rows and documents stay on the disk: a shorter rule is told and waits for a day (`model/retention.py`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from spotlightd.log import logger
from spotlightd.model.retention import RetentionRule, settle_rule
from spotlightd.ports.ledger import ArchiveLedger

DescribeLeaving = Callable[[RetentionRule], Awaitable[str]]
"""What would leave under the rule that is asked for, as a clause."""


async def settle_rules(ledger: ArchiveLedger, asked: Mapping[str, int], now: datetime) -> dict[str, RetentionRule]:
    """The rules of these names, as they are in force now, recorded. `asked` are the days of the settings."""
    known = await ledger.retention_rules()
    rules = {name: settle_rule(known.get(name), name, days, now) for name, days in asked.items()}
    for name, rule in rules.items():
        if rule != known.get(name):
            await ledger.save_retention_rule(rule)
    return rules


async def tell_shortened(
    rules: Mapping[str, RetentionRule], told: set[RetentionRule], describe_leaving: DescribeLeaving
) -> tuple[str, ...]:
    """A sentence for each shorter rule that waits. Each is logged once: `told` has those that were."""
    alarms = {rule: rule.describe(await describe_leaving(rule)) for rule in rules.values() if rule.is_waiting}
    for rule in alarms.keys() - told:
        logger(dataset=rule.name).error(
            "retention shortened", days=rule.asked, was=rule.days, at=rule.starts_at.isoformat(), detail=alarms[rule]
        )
    told.update(alarms)
    return tuple(alarms.values())
