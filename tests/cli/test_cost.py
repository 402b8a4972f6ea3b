"""`inlet cost compare`: needs no server, and shows the figures to the cent."""

import json

import pytest
from typer.testing import CliRunner, Result

from inlet.cli.app import app


def cost(*args: str) -> Result:
    return CliRunner().invoke(app, ["cost", "compare", *args])


def test_the_three_tables() -> None:
    result = cost()
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines() if line[:1].isdigit()]
    assert [(row[3], row[4]) for row in rows] == [
        ("$33.18", "$43.80"), ("$60.38", "$87.61"), ("$114.78", "$175.22"), ("$223.59", "$350.44"),
        ("$36.04", "$43.80"), ("$72.08", "$87.60"), ("$144.16", "$175.20"), ("$288.32", "$350.40"),
        ("$36.04", "$24.09"), ("$72.08", "$48.91"), ("$144.16", "$97.82"), ("$288.32", "$195.64"),
    ]  # fmt: skip
    assert rows[0][5:] == ["32.0%", "more"]
    assert rows[-1][5:] == ["32.1%", "less"]
    assert "$0.04048 per vCPU-hour, $0.004445 per GB-hour" in result.stderr


def test_json_with_other_hours_and_sizes() -> None:
    answer = json.loads(cost("--hours", "100", "--vcpus", "16,1", "--output", "json").stdout)
    assert [(row["vcpus"], row["fargate"], row["managed"]) for row in answer["today"]] == [
        (16.0, 78.99, 53.6),
        (1.0, 4.94, 3.3),
    ]
    assert answer["asPublished"][0]["fargate"] == 33.18, "the article stays what it is"
    assert answer["likeForLike"][0] == {
        "vcpus": 1.0, "memoryGb": 2.0, "fargate": 4.94, "managed": 6.0, "premium": 0.2146,
    }  # fmt: skip
    assert answer["prices"]["fargate"]["perVcpuHour"] == 0.04048
    assert answer["prices"]["article"]["fargateHours"] == 672.0


@pytest.mark.parametrize("vcpus", ["3", "x", "", "1,,2"])
def test_a_size_that_nobody_sells(vcpus: str) -> None:
    result = cost("--vcpus", vcpus)
    assert result.exit_code == 2
    assert "none of the sizes that are sold: 1, 2, 4, 8, 16" in result.stderr
