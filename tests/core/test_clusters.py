"""How clusters are named, and what of theirs is refused before anybody is spoken to."""

from __future__ import annotations

import pytest

from rfbulk.core.clusters import MOST_AT_ONCE, ClusterOptions, check_address, checked_local, parse_path_map, path_there
from rfbulk.core.partition import Partition
from rfbulk.errors import UsageError
from rfbulk.settings import ExportOptions, UploadOptions


@pytest.mark.parametrize("address", ["tcp://h:1", "tls://h:8786", "TLS://[::1]:8786", "local", "local:4", "./a.json"])
def test_addresses_of_schedulers_are_taken(address: str) -> None:
    assert ClusterOptions(address).address == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "h:8786",
        "http://h:1",
        "tcp://h",
        "tcp://:1",
        "tcp://h:x",
        "tcp://u:p@h:1",
        "local:",
        "local:x",
        "tcp://h:1/x",
    ],
)
def test_what_is_no_address_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(UsageError) as refused:
        ClusterOptions(address)
    assert "u:p" not in str(refused.value)


@pytest.mark.parametrize(("address", "count"), [("local", None), ("local:3", 3), ("LOCAL:12", 12)])
def test_a_local_cluster_says_how_many(address: str, count: int | None) -> None:
    assert (True, count) == (ClusterOptions(address).is_local, ClusterOptions(address).local_workers)


@pytest.mark.parametrize("count", [0, 65])
def test_a_local_cluster_of_none_or_too_many_is_refused(count: int) -> None:
    with pytest.raises(UsageError):
        checked_local(count)


@pytest.mark.parametrize(
    ("address", "warns"),
    [("tls://far:1", False), ("tcp://127.0.0.1:1", False), ("tcp://localhost:1", False), ("tcp://far:1", True)],
)
def test_the_clear_is_warned_of_beyond_this_machine(address: str, warns: bool) -> None:
    assert warns == bool(ClusterOptions(address, allow_insecure=True).check(address))


def test_the_clear_beyond_this_machine_needs_to_be_allowed() -> None:
    with pytest.raises(UsageError, match="allow-insecure-cluster"):
        ClusterOptions("tcp://10.0.0.1:8786").check("tcp://10.0.0.1:8786")


def test_half_a_set_of_certificates_is_refused() -> None:
    with pytest.raises(UsageError, match="together"):
        ClusterOptions("tls://h:1", ca="ca.pem")
    with pytest.raises(UsageError, match="tls"):
        ClusterOptions("tcp://h:1", ca="ca.pem", cert="c.pem", key="k.pem")


def test_scheme_and_host_are_found() -> None:
    assert check_address("tls://far:8786") == ("tls", "far")


MAP = (("/data", "/mnt/data"), ("/data/b", "/b"), ("/", "/root"))


@pytest.mark.parametrize(
    ("path", "there"),
    [
        (b"/data", b"/mnt/data"),
        (b"/data/x", b"/mnt/data/x"),
        (b"/data/b", b"/b"),
        (b"/data/b/c", b"/b/c"),
        (b"/database", b"/root/database"),
        (b"/", b"/root"),
        (b"/data/\xff", b"/mnt/data/\xff"),
    ],
)
def test_the_longest_prefix_of_whole_components_counts(path: bytes, there: bytes) -> None:
    assert there == path_there(path, MAP)


def test_without_a_map_paths_stay() -> None:
    assert path_there(b"/a/b", ()) == b"/a/b"
    assert path_there(b"/a/b", (("/c", "/d"),)) == b"/a/b"
    assert path_there(b"/a/b", (("/a", "/"),)) == b"/b"


def test_a_map_is_a_pair_of_absolute_paths() -> None:
    assert parse_path_map("/a/=/b/") == ("/a", "/b")
    for text in ("/a", "a=/b", "/a=b", "="):
        with pytest.raises(UsageError, match="absolute"):
            parse_path_map(text)


def test_what_is_in_flight_is_bound_by_the_cluster_not_by_this_machines_memory() -> None:
    cluster = ClusterOptions("local")
    assert UploadOptions(concurrency=500, cluster=cluster).concurrency == 500
    assert ExportOptions(concurrency=500, cluster=cluster).concurrency == 500
    for options in (UploadOptions, ExportOptions):
        with pytest.raises(UsageError, match="concurrency"):
            options(concurrency=MOST_AT_ONCE + 1, cluster=cluster)
        with pytest.raises(UsageError, match="concurrency"):
            options(concurrency=500)


def test_single_images_have_neither_cluster_nor_shares() -> None:
    with pytest.raises(UsageError, match="one-by-one"):
        UploadOptions(one_by_one=True, cluster=ClusterOptions("local"))
    with pytest.raises(UsageError, match="one-by-one"):
        UploadOptions(one_by_one=True, partition=Partition(1, 2))
