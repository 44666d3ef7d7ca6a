"""Server: disks with their forecast, memory, processors, network and units of the machine."""

from __future__ import annotations

from grafana.model import Dashboard, Panel, PromQL, Row

WEEK = 7 * 86_400.0
REAL_DISKS = 'fstype!~"tmpfs|ramfs|overlay|squashfs|autofs|fuse.*"'

DISKS = Row("Disks", (
    Panel(
        "Level", "The level that the daemon acts on: from `batch held` on, work waits.",
        (PromQL("max by (filesystem) (spotlightd_disk_level)", legend="{{filesystem}}", instant=True),),
        kind="stat", width=6, unit="none", steps=((0, "green"), (1, "yellow"), (2, "orange"), (3, "red")),
        texts={
            "0": ("fine", "green"), "1": ("filling up", "yellow"), "2": ("batch held", "orange"),
            "3": ("sink held", "red"), "4": ("ballast released", "red"),
        },
    ),
    Panel(
        "Full in", "When the disk will be full at its current rate. Infinite when it does not grow.",
        (PromQL("min by (filesystem) (spotlightd_disk_full_in_seconds)", legend="{{filesystem}}", instant=True),),
        kind="stat", width=6, unit="s", steps=((0, "red"), (WEEK, "green")),
    ),
    Panel(
        "Does it answer", "A network file system whose server is down hangs: then it keeps its last level.",
        (PromQL("min by (filesystem) (spotlightd_disk_answers)", legend="{{filesystem}}", instant=True),),
        kind="stat", width=6, unit="none", steps=((0, "red"), (1, "green")), texts={"0": ("hangs", "red"), "1": ("answers", "green")},
    ),
    Panel(
        "Ballast", "The reserved file that is released on a full disk.",
        (PromQL("sum(spotlightd_disk_ballast_bytes)", instant=True),), kind="stat", width=6, unit="bytes",
    ),
    Panel(
        "Used", "Share of each file system that is used, as the daemon sees it.",
        (PromQL("1 - spotlightd_disk_free_bytes / spotlightd_disk_size_bytes", legend="{{filesystem}}"),), unit="percentunit",
    ),
    Panel(
        "Reads and writes", "Bytes per second, by device.",
        (
            PromQL("rate(node_disk_read_bytes_total[$__rate_interval])", legend="{{device}} read"),
            PromQL("rate(node_disk_written_bytes_total[$__rate_interval])", legend="{{device}} written"),
        ), unit="Bps",
    ),
    Panel(
        "All file systems", "Share used of every file system of the machine, also those that spotlightd does not watch.",
        (PromQL(
            f"1 - node_filesystem_avail_bytes{{{REAL_DISKS}}} / node_filesystem_size_bytes{{{REAL_DISKS}}}",
            legend="{{mountpoint}}",
        ),), unit="percentunit",
    ),
))  # fmt: skip

MACHINE = Row("Machine", (
    Panel(
        "Memory", "Memory that programs can still get, and all memory.",
        (
            PromQL("node_memory_MemAvailable_bytes", legend="available"),
            PromQL("node_memory_MemTotal_bytes", legend="all"),
        ), unit="bytes", width=8,
    ),
    Panel(
        "Processors", "Share of all processors that was busy.",
        (PromQL('1 - avg(rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))', legend="busy"),), unit="percentunit", width=8,
    ),
    Panel(
        "Network", "Bytes per second, by interface, without loopback.",
        (
            PromQL('rate(node_network_receive_bytes_total{device!="lo"}[$__rate_interval])', legend="{{device}} received"),
            PromQL('rate(node_network_transmit_bytes_total{device!="lo"}[$__rate_interval])', legend="{{device}} sent"),
        ), unit="Bps", width=8,
    ),
    Panel(
        "Memory of the daemon", "Resident memory of spotlightd's main process, without the engine.",
        (PromQL("process_resident_memory_bytes", legend="{{job}}"),), unit="bytes", width=8,
    ),
    Panel(
        "Open files of the daemon", "Open descriptors against their limit.",
        (PromQL("process_open_fds / process_max_fds", legend="{{job}}"),), unit="percentunit", width=8,
    ),
    Panel(
        "Load", "Runnable processes, averaged over one and fifteen minutes.",
        (PromQL("node_load1", legend="1 min"), PromQL("node_load15", legend="15 min")), width=8,
    ),
))  # fmt: skip

UNITS = Row("Units", (
    Panel(
        "Units that failed", "systemd units in the state `failed`. The node exporter's systemd collector must be on.",
        (PromQL('sum(node_systemd_unit_state{state="failed"})', instant=True),), kind="stat", width=4, unit="none",
        steps=((0, "green"), (1, "red")),
    ),
    Panel(
        "Units of spotlightd", "The current state of each unit that belongs to this box.",
        (PromQL(
            'node_systemd_unit_state{name=~"(spotlight|clickhouse|kafka|minio|seaweedfs|prometheus|grafana|nginx).*"} == 1', instant=True,
        ),), kind="table", unit="none", width=20,
    ),
))  # fmt: skip

server = Dashboard(
    uid="spotlightd-server",
    title="Server",
    description="Disks, memory, processors, network and units of the machine.",
    rows=(DISKS, MACHINE, UNITS),
)
