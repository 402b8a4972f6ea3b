"""The hardware listing: vendors, their regions, and the instances of each with price and use.

Called by `control/catalogue.py`. Inlet sets no quota, but clients compute one: `maxAccelerators` is a number that
nobody reaches, and `usedAccelerators` is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from inlet.core.catalogue import Availability, Instance, find
from inlet.core.endpoint import Endpoint, State

NO_QUOTA = 100_000

Used = Mapping[tuple[str, str, str], int]
"""Accelerators in use by (vendor, region, instance type)."""


def used_accelerators(endpoints: Iterable[Endpoint], rows: tuple[Instance, ...]) -> Used:
    """What endpoints occupy: paused and failed ones nothing, sleeping ones the replica that a request would start."""
    used: dict[tuple[str, str, str], int] = {}
    for endpoint in endpoints:
        instance = find(endpoint.spec.workload.hardware, rows)
        if instance is None or endpoint.state in (State.PAUSED, State.FAILED):
            continue
        key = (instance.vendor, instance.region, instance.type)
        used[key] = used.get(key, 0) + instance.accelerators * max(1, endpoint.replicas)
    return used


def render_vendors(rows: Sequence[Instance], used: Used) -> dict[str, Any]:
    """`{"vendors": [...]}` with every row of the catalogue."""
    return {
        "vendors": [
            {
                "name": vendor,
                "status": _status(of_vendor),
                "regions": [
                    {
                        "name": region,
                        "label": of_region[0].region_label,
                        "status": _status(of_region),
                        "computes": [_compute(row, used) for row in of_region],
                    }
                    for region, of_region in _grouped(of_vendor, lambda row: row.region)
                ],
            }
            for vendor, of_vendor in _grouped(rows, lambda row: row.vendor)
        ]
    }


def render_quotas(rows: Sequence[Instance], used: Used) -> dict[str, Any]:
    """Use by instance type, over all regions of a vendor."""
    return {
        "vendors": [
            {
                "name": vendor,
                "quotas": [
                    {
                        "instanceType": type_,
                        "architecture": of_type[0].architecture,
                        "maxAccelerators": NO_QUOTA,
                        "usedAccelerators": sum(
                            count
                            for (its_vendor, _, its_type), count in used.items()
                            if (its_vendor, its_type) == (vendor, type_)
                        ),
                    }
                    for type_, of_type in _grouped(of_vendor, lambda row: row.type)
                ],
            }
            for vendor, of_vendor in _grouped(rows, lambda row: row.vendor)
        ]
    }


def _compute(row: Instance, used: Used) -> dict[str, Any]:
    return {
        "id": row.id,
        "accelerator": row.accelerator,
        "numAccelerators": row.accelerators,
        "numCpus": row.vcpus,
        "memoryGb": float(row.memory_gb),
        "gpuMemoryGb": row.gpu_memory_gb,
        "instanceType": row.type,
        "instanceSize": row.size,
        "architecture": row.architecture,
        "status": row.status.value,
        "pricePerHour": row.price_per_hour,
        "quota": {
            "maxAccelerators": NO_QUOTA,
            "usedAccelerators": used.get((row.vendor, row.region, row.type), 0),
        },
    }


def _status(rows: Sequence[Instance]) -> str:
    usable = any(row.status is not Availability.NOT_AVAILABLE for row in rows)
    return (Availability.AVAILABLE if usable else Availability.NOT_AVAILABLE).value


def _grouped(rows: Sequence[Instance], key: Callable[[Instance], str]) -> list[tuple[str, list[Instance]]]:
    return [(name, list(group)) for name, group in groupby(sorted(rows, key=key), key=key)]
