"""The hardware catalogue: which instances exist, what they have and what they cost.

Source of rows and prices: the published instance list of the public service (USD per replica-hour). Read by
`control/` (provider listing, validation, prices) and by backends, which say which rows they can really run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from inlet.core.spec import Hardware

HOURS_PER_MONTH = 730


class Availability(StrEnum):
    """`status` of a row on the wire."""

    AVAILABLE = "available"
    NOT_AVAILABLE = "not_available"
    DEPRECATED = "deprecated"


@dataclass(frozen=True, slots=True)
class Instance:
    """One row. Memory in GB (10^9 bytes is close enough for the public list; limits use GiB), price in USD/hour."""

    vendor: str
    region: str
    region_label: str
    accelerator: str
    type: str
    size: str
    architecture: str
    accelerators: int
    vcpus: float | None
    memory_gb: float
    gpu_memory_gb: float | None
    price_per_hour: float
    status: Availability = Availability.AVAILABLE

    @property
    def id(self) -> str:
        return f"{self.vendor}-{self.region}-{self.type}-{self.size}"


_REGIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "aws": (
        ("us-east-1", "N. Virginia"),
        ("us-east-2", "Ohio"),
        ("us-west-2", "Oregon"),
        ("eu-west-1", "Ireland"),
    ),
    "azure": (("eastus", "Virginia"),),
    "gcp": (("us-east4", "Northern Virginia"),),
}

# vendor, type, architecture, {size: (vCPU, memory GB, price)}, deprecated
_CPU = (
    ("aws", "intel-spr", "Intel Sapphire Rapids",
     {"x1": (1, 2, 0.033), "x2": (2, 4, 0.067), "x4": (4, 8, 0.134), "x8": (8, 16, 0.268), "x16": (16, 32, 0.536)}, False),
    ("aws", "intel-icl", "Intel Ice Lake",
     {"x1": (1, 2, 0.032), "x2": (2, 4, 0.064), "x4": (4, 8, 0.128), "x8": (8, 16, 0.256)}, True),
    ("azure", "intel-xeon", "Intel Xeon",
     {"x1": (1, 2, 0.060), "x2": (2, 4, 0.120), "x4": (4, 8, 0.240), "x8": (8, 16, 0.480)}, False),
    ("gcp", "intel-spr", "Intel Sapphire Rapids",
     {"x1": (1, 2, 0.050), "x2": (2, 4, 0.100), "x4": (4, 8, 0.200), "x8": (8, 16, 0.400)}, False),
)  # fmt: skip

# vendor, accelerator, type, architecture, {size: (count, accelerator memory GB, host memory GB, vCPU, price)}, deprecated
_ACCELERATED = (
    ("aws", "gpu", "nvidia-t4", "Nvidia Tesla T4", {"x1": (1, 14, 14, 3, 0.50), "x4": (4, 56, 56, None, 3.00)}, False),
    ("aws", "gpu", "nvidia-l4", "Nvidia L4", {"x1": (1, 24, 30, 7, 0.80), "x4": (4, 96, 120, None, 3.80)}, False),
    ("aws", "gpu", "nvidia-a10g", "Nvidia A10G", {"x1": (1, 24, 30, None, 1.00), "x4": (4, 96, 120, None, 5.00)}, False),
    ("aws", "gpu", "nvidia-l40s", "Nvidia L40S",
     {"x1": (1, 48, 60, None, 1.80), "x4": (4, 192, 240, None, 8.30), "x8": (8, 384, 480, None, 23.50)}, False),
    ("aws", "gpu", "nvidia-a100", "Nvidia A100",
     {"x1": (1, 80, 145, 11, 2.50), "x2": (2, 160, 290, 22, 5.00), "x4": (4, 320, 580, 44, 10.00),
      "x8": (8, 640, 1160, 88, 20.00)}, False),
    ("aws", "gpu", "nvidia-h200", "Nvidia H200",
     {"x1": (1, 141, 256, 23, 5.00), "x2": (2, 282, 512, 46, 10.00), "x4": (4, 564, 1024, 92, 20.00),
      "x8": (8, 1128, 2048, 184, 40.00)}, False),
    ("gcp", "gpu", "nvidia-t4", "Nvidia Tesla T4", {"x1": (1, 16, 14, None, 0.50)}, False),
    ("gcp", "gpu", "nvidia-l4", "Nvidia L4", {"x1": (1, 24, 30, None, 0.70), "x4": (4, 96, 120, None, 3.80)}, False),
    ("gcp", "gpu", "nvidia-a100", "Nvidia A100",
     {"x1": (1, 80, 85, 12, 3.60), "x2": (2, 160, 170, 24, 7.20), "x4": (4, 320, 340, 48, 14.40),
      "x8": (8, 640, 680, 96, 28.80)}, False),
    ("gcp", "gpu", "nvidia-h100", "Nvidia H100",
     {"x1": (1, 80, 85, None, 10.0), "x2": (2, 160, 170, None, 20.0), "x4": (4, 320, 340, None, 40.0),
      "x8": (8, 640, 680, None, 80.0)}, False),
    ("aws", "neuron", "inf2", "AWS Inferentia2", {"x1": (1, 32, 14.5, None, 0.75), "x12": (12, 384, 760, None, 12.00)}, False),
)  # fmt: skip

_SIZE_ALIASES = {"small": "x1", "medium": "x2", "large": "x4", "xlarge": "x8"}
_TYPE_ALIASES = {
    ("aws", "c6i"): "intel-icl",
    ("aws", "g4dn.xlarge"): "nvidia-t4",
    ("aws", "g5.2xlarge"): "nvidia-a10g",
}


def _build() -> tuple[Instance, ...]:
    rows: list[Instance] = []
    for vendor, regions in _REGIONS.items():
        for region, label in regions:
            for row_vendor, type_, architecture, sizes, deprecated in _CPU:
                if row_vendor == vendor:
                    status = Availability.DEPRECATED if deprecated else Availability.AVAILABLE
                    rows += [
                        Instance(
                            vendor,
                            region,
                            label,
                            "cpu",
                            type_,
                            size,
                            architecture,
                            1,
                            vcpus,
                            memory,
                            None,
                            price,
                            status,
                        )
                        for size, (vcpus, memory, price) in sizes.items()
                    ]
            for row_vendor, accelerator, type_, architecture, accelerated, deprecated in _ACCELERATED:
                if row_vendor == vendor:
                    status = Availability.DEPRECATED if deprecated else Availability.AVAILABLE
                    rows += [
                        Instance(
                            vendor, region, label, accelerator, type_, size, architecture, count, vcpus, memory,
                            accelerator_memory, price, status,
                        )
                        for size, (count, accelerator_memory, memory, vcpus, price) in accelerated.items()
                    ]  # fmt: skip
    return tuple(rows)


CATALOGUE: tuple[Instance, ...] = _build()


def resolve(hardware: Hardware) -> Hardware:
    """The same hardware under its present names (2022–2024 sizes and types are aliases)."""
    return replace(
        hardware,
        instance_type=_TYPE_ALIASES.get((hardware.vendor, hardware.instance_type), hardware.instance_type),
        instance_size=_SIZE_ALIASES.get(hardware.instance_size, hardware.instance_size),
    )


def find(hardware: Hardware, rows: tuple[Instance, ...]) -> Instance | None:
    """The row that this hardware names among `rows`, aliases included; None if there is none."""
    wanted = resolve(hardware)
    for row in rows:
        if (row.vendor, row.region, row.accelerator, row.type, row.size) == (
            wanted.vendor,
            wanted.region,
            wanted.accelerator,
            wanted.instance_type,
            wanted.instance_size,
        ):
            return row
    return None
