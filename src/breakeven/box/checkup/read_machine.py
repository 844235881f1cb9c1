"""Reads the machine: strain over a moment, heat, power, disk, clock, and what listens."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import psutil

from breakeven.box.checkup.facts import Listener, MachineFacts
from breakeven.box.discovery import PORTS
from breakeven.box.heat import thermal_zones, throttling
from breakeven.box.host import said_by
from breakeven.box.power import choose_meter
from breakeven.box.pressure import StrainReader
from breakeven.catalog.machines import box_cost
from breakeven.config import BoxSettings
from breakeven.config.addresses import is_loopback
from breakeven.errors import ConfigError
from breakeven.units import Seconds

WATCHED: Seconds = 1.0


def read_machine(box: BoxSettings, home: Path, *, watched: Seconds = WATCHED) -> MachineFacts:
    """Watches the machine for a moment."""
    strain, zones = StrainReader(), thermal_zones()
    time.sleep(watched)
    seen = strain.read()
    try:
        choice = choose_meter(box.power_meter)
        meter, reason = (choice.meter.name if choice.meter is not None else None), choice.reason
    except ConfigError as error:
        meter, reason = None, error.message
    return MachineFacts(
        zones=tuple(zones),
        throttled=throttling(),
        cpu_share=seen.cpu_share,
        memory_share=seen.memory_share,
        swap_bytes_per_second=seen.swap_bytes_per_second,
        meter=meter,
        meter_reason=reason,
        draw_known=box_cost(box) is not None,
        disk_free_bytes=_free(home),
        home=str(home),
        clock_synchronised=_clock_synchronised(),
        now=time.time(),
    )


def _free(home: Path) -> int | None:
    folder = next((folder for folder in (home, *home.parents) if folder.exists()), None)
    try:
        return None if folder is None else shutil.disk_usage(folder).free
    except OSError:
        return None


def _clock_synchronised() -> bool | None:
    if sys.platform != "linux":
        return None
    said = said_by("timedatectl", "show", "--property=NTPSynchronized", "--value")
    return {"yes": True, "no": False}.get(said or "")


def open_listeners(*own_ports: int) -> tuple[Listener, ...] | None:
    """Model servers, and the gateway's port, that listen beyond this machine; ``None`` without the right to look."""
    ports = {port: kind for kind, port in PORTS.items()} | dict.fromkeys(own_ports, "the gateway")
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return None
    bound = [connection.laddr for connection in connections if connection.status == psutil.CONN_LISTEN]
    open_ones = {
        Listener(address.port, address.ip, ports[address.port])
        for address in bound
        if address and address.port in ports and not is_loopback(address.ip)
    }
    return tuple(sorted(open_ones, key=lambda listener: (listener.port, listener.address)))
