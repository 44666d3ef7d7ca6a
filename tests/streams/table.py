"""The table of faults in docs/reliability.md, from the counts of a test run: `make faults`."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"
HEADER = (
    "| no. | fault | ticks sent | in gaps | lost | doubled | note | test |",
    "|---|---|---:|---:|---:|---:|---|---|",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: what is done, and which test does it. A test in this folder records counts under `name`; others have a
    `note` instead of counts.
    """

    name: str
    action: str
    test: str
    note: str = ""


FAULTS = (
    Fault("1, 2, 5", "SIGKILL between intent and done: before, within and after the inserts; started again with another batch size", "tests/streams/test_kill_faults.py::test_faults_1_2_and_5_killed_between_intent_and_done"),
    Fault("3", "SIGKILLs of daemon, engine and Kafka in turn, at 2,000 ticks/s", "tests/streams/test_kill_faults.py::test_fault_3_random_kills_of_daemon_engine_and_kafka"),
    Fault("4, 44, 45", "batches across midnight in UTC, New York and Tokyo and both changes of summer time, drained by daemons in three time zones", "tests/streams/test_clock_faults.py::test_faults_4_44_45_days_are_the_same_in_every_zone_of_time"),
    Fault("4", "killed within a batch across midnight, at each step", "tests/flows/test_drain.py::test_a_crash_between_any_two_steps_loses_and_doubles_nothing", "bus in memory"),
    Fault("6", "the engine stands still until a statement has timed out", "tests/streams/test_bus_faults.py::test_fault_6_an_engine_that_stands_still_does_a_statement_once"),
    Fault("7", "the table of trades is renamed; alarm within 10 s", "tests/streams/test_bus_faults.py::test_fault_7_a_table_that_takes_nothing_stops_the_stream_with_an_alarm"),
    Fault("8", "bad JSON, records without a key, a record of 5 MB in the topic", "tests/streams/test_bus_faults.py::test_fault_8_poison_messages_are_rejected_once_and_others_flow"),
    Fault("9", "Kafka SIGSTOP, SIGCONT", "tests/streams/test_bus_faults.py::test_fault_9_a_frozen_kafka_fills_the_spool_which_empties_again"),
    Fault("10", "Kafka SIGKILL, started with an empty log, while the engine lags", "tests/streams/test_bus_faults.py::test_fault_10_a_wiped_kafka_is_a_new_epoch_and_nothing_is_lost"),
    Fault("11", "Kafka's answers dropped, requests passed", "tests/streams/test_bus_faults.py::test_fault_11_answers_that_are_lost_make_repeats_that_are_known"),
    Fault("12", "connections to Kafka cut in the middle of a produce request", "tests/streams/test_bus_faults.py::test_fault_12_connections_cut_in_mid_produce_lose_and_double_nothing"),
    Fault("12", "OutOfOrderSequence itself", "tests/streams/test_bus_faults.py::test_fault_12_a_sequence_out_of_order_costs_a_new_number_and_no_record", "the client alone at the real broker"),
    Fault("13", "Kafka unreachable until the spool is full", "tests/streams/test_bus_faults.py::test_fault_13_a_full_spool_sheds_and_records_gaps"),
    Fault("13", "of several feeds those of lower priority are shed first", "tests/clients/test_spool.py::test_a_full_spool_sheds_by_priority_and_accepts_again_when_there_is_room", "the spool alone"),
    Fault("14", "records deleted at Kafka before they were read", "tests/streams/test_bus_faults.py::test_fault_14_records_deleted_before_they_were_read_come_from_the_spool"),
    Fault("15", "two daemons on one state folder", "tests/daemon/test_start.py::test_a_second_daemon_is_refused_at_once_and_touches_nothing", "the second one is refused"),
    Fault("16", "the venue closes or resets the connection, three times", "tests/streams/test_venue_faults.py::test_fault_16_a_venue_that_hangs_up_makes_a_gap_of_each_time"),
    Fault("16", "the venue closes every connection for an hour: at most 10 connections a minute", "tests/flows/test_listen.py::test_fault_16_a_venue_that_hangs_up_again_and_again_gets_few_connections", "a clock set by hand"),
    Fault("17", "pings answered, no frame", "tests/streams/test_venue_faults.py::test_fault_17_a_venue_that_is_mute_is_left_for_a_new_connection"),
    Fault("18", "quiet market, the venue's own pings", "tests/streams/test_venue_faults.py::test_fault_18_a_quiet_market_is_not_dead"),
    Fault("19", "holes in a venue's numbers, late and repeated frames", "tests/flows/test_listen.py::test_fault_19_a_hole_in_the_numbers_is_a_gap_and_late_or_repeated_frames_are_stored", "Finnhub's frames have no numbers"),
    Fault("19", "a hole is refilled by the venue", "tests/flows/test_listen.py::test_fault_19_a_hole_is_refilled_where_the_venue_allows_it", "Finnhub's frames have no numbers"),
    Fault("20", "hole between snapshot and first update", "", "does not apply: a feed of trades has no snapshot"),
    Fault("21", "half-open connection", "tests/streams/test_venue_faults.py::test_fault_21_a_half_open_connection_is_noticed_by_its_pings"),
    Fault("22", "burst of 100 times the rate for 5 s", "tests/streams/test_venue_faults.py::test_fault_22_a_burst_is_received_whole_in_bounded_memory"),
    Fault("23", "truncated, deep, non-UTF-8, NaN and empty frames; one above 16 MiB", "tests/streams/test_venue_faults.py::test_fault_23_garbage_is_rejected_frame_by_frame"),
    Fault("51", "a flow raises, hangs, blocks the loop", "tests/daemon/test_hanging.py::test_what_raises_is_begun_again_and_what_hangs_shows", "flows of the test's own"),
    Fault("52", "SIGTERM under load; SIGTERM twice", "tests/streams/test_kill_faults.py::test_fault_52_sigterm_under_load_once_and_twice"),
    Fault("52, stores frozen", "SIGTERM while Kafka, then the engine, stand still", "tests/streams/test_kill_faults.py::test_fault_52_sigterm_while_kafka_and_the_engine_stand_still"),
    Fault("topic deleted", "topic deleted under the running daemon", "tests/streams/test_bus_faults.py::test_a_topic_that_is_deleted_or_created_again"),
    Fault("topic created again", "topic deleted, and created again at once by another program", "tests/streams/test_bus_faults.py::test_a_topic_that_is_deleted_or_created_again"),
    Fault("committed offsets gone", "the consumer group is deleted while the daemon is off", "tests/streams/test_bus_faults.py::test_offsets_that_expired_at_kafka_are_not_missed"),
    Fault("message size", "`max.message.bytes` of the topic lowered below a batch, then raised", "tests/streams/test_bus_faults.py::test_messages_that_are_too_large_for_the_topic_wait_until_it_takes_them"),
    Fault("disk of Kafka full", "the disk of Kafka fills up, Kafka ends; some space, and started again", "tests/streams/test_bus_faults.py::test_a_kafka_that_ends_on_a_full_disk_and_comes_back"),
    Fault("clock", "the clock of the machine steps 2 h forward and back", "tests/streams/test_clock_faults.py::test_a_clock_that_is_set_while_frames_flow"),
    Fault("chaos, 20 s", "kills, stops, freezes, wipes, cut and slow wires, hang-ups, garbage and bursts in random order for 20 s (`make chaos` for longer)", "tests/streams/test_kill_faults.py::test_a_short_run_of_chaos"),
)  # fmt: skip


def rows(counts: list[dict[str, Any]]) -> list[str]:
    """Rows of Markdown. A fault that was not counted in this run is marked."""
    by_name = {count["fault"]: count for count in counts}
    lines = []
    for fault in FAULTS:
        count = by_name.pop(fault.name, None) if not fault.note else None
        number = fault.name if fault.name[0].isdigit() else "-"
        test = f"`{fault.test}`" if fault.test else ""
        if count:
            numbers = f"{count['ticks']:,} | {count['in_gaps']:,} | {count['lost']} | {count['doubled']}"
            lines.append(f"| {number} | {fault.action} | {numbers} | {count['note']} | {test} |")
        else:
            note = fault.note or "**not counted in this run**"
            lines.append(f"| {number} | {fault.action} | | | | | {note} | {test} |")
    lines += [f"| - | {name} | | | | | not in the list of faults | |" for name in by_name]
    return lines


def main(path: str) -> int:
    counts = json.loads(Path(path).read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    day = datetime.now(UTC).date()
    where = f"Counted on {day}: {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}."
    table = [BEGIN, "", where, "", *HEADER, *rows(counts), "", END]
    PAGE.write_text(head + "\n".join(table) + tail, encoding="utf-8")
    print("\n".join(table))
    return 1 if any(count["lost"] or count["doubled"] or count["strange"] for count in counts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
