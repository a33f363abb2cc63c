"""Buckets refill with monotonic time, stay bounded, and count IPv6 by /64."""

from __future__ import annotations

import pytest

from casemate.core import LimitError
from casemate.doors import Buckets, Rate, network_of
from casemate.gateway.limits import Limits, LimitsConfig, Slots


class Time:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_bucket_empties_and_refills():
    time = Time()
    buckets = Buckets(capacity=10, monotonic=time)
    rate = Rate(2, 3)
    assert [buckets.take("k", rate) for _ in range(3)] == [2, 1, 0]
    assert buckets.take("k", rate) == -0.5
    time.now += 0.5
    assert buckets.take("k", rate) == 0
    time.now += 1000
    assert buckets.take("k", rate) == 2


def test_what_a_refusal_advises_is_enough():
    time = Time()
    buckets = Buckets(capacity=10, monotonic=time)
    rate = Rate(0.3, 1)
    buckets.take("k", rate)
    time.now -= buckets.take("k", rate)
    assert buckets.take("k", rate) >= 0


def test_memory_is_bounded_and_the_busy_are_remembered():
    buckets = Buckets(capacity=100, monotonic=Time())
    for number in range(1000):
        buckets.take("busy", Rate(1, 2000))
        buckets.take(f"k{number}", Rate(1, 1))
    assert len(buckets) == 100
    assert buckets.take("busy", Rate(1, 2000)) == 999


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_networks(address, network):
    assert network_of(address) == network


def test_keys_and_addresses_are_limited_apart():
    limits = Limits(LimitsConfig(address_rate=Rate(1, 1)), monotonic=Time())
    allowance = limits.take_key("a", Rate(1, 2))
    assert (allowance.quota, allowance.remaining, allowance.window) == (2, 1, 2)
    assert allowance.headers() == [
        (b"ratelimit-policy", b'"key";q=2;w=2'),
        (b"ratelimit", b'"key";r=1;t=2'),
    ]
    limits.take_key("a", Rate(1, 2))
    with pytest.raises(LimitError) as caught:
        limits.take_key("a", Rate(1, 2))
    assert (caught.value.code, caught.value.retry_after) == ("rate-limited", 1.0)
    limits.take_address("192.0.2.1")
    with pytest.raises(LimitError) as caught:
        limits.take_address("192.0.2.1")
    assert caught.value.code == "address-limited"


def test_refused_credentials_are_charged_to_the_address():
    limits = Limits(LimitsConfig(refusal_rate=Rate(1, 2)), monotonic=Time())
    limits.count_refusal("2001:db8::1")
    limits.count_refusal("2001:db8::2")
    with pytest.raises(LimitError, match="refused credentials"):
        limits.count_refusal("2001:db8::3")
    limits.count_refusal("2001:db8:1::1")


def test_places_come_back_also_after_a_failure():
    limits = Limits(LimitsConfig(max_in_flight=2), monotonic=Time())
    one = Slots(1, "Deployment 'd'")
    with limits.enter(one):
        with pytest.raises(LimitError, match="Deployment 'd' already serves 1"), limits.enter(one):
            pass
        with limits.enter(Slots(1, "x")), pytest.raises(LimitError, match="The server"), limits.enter(Slots(1, "y")):
            pass
    assert one.used == 0
    with pytest.raises(ValueError, match="boom"), limits.enter(one):
        raise ValueError("boom")
    with limits.enter(one), limits.enter(Slots(1, "z")):
        assert one.used == 1
