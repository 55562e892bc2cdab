"""One model over several hosts: who belongs together, what must be alike, what is rendered."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from fleet import preflight_fabric, render, replicas, settings, vllm_config
from fleet.catalogue import Catalogue
from fleet.fabric_facts import Fabric
from fleet.serve import ServeSettings
from tests.fleet.examples import DATA, problems, where
from tests.fleet.host_examples import snapshot

KEYS = ServeSettings.model_fields.keys() - {"cluster_address"}
PAIR = {"replica": "pair", "tensor_parallel": 2}


def fleet(files: Catalogue, **hosts: dict[str, Any]) -> dict[str, settings.Settings]:
    """Hosts of one replica with what each has of its own; names have '-' for '_'."""
    raw = {name.replace("_", "-"): {**DATA, **PAIR, **data} for name, data in hosts.items()}
    ranks = replicas.ranks(raw)
    return {n: settings.load(n, d, where, ranks=ranks[n], catalogue=files) for n, d in raw.items()}


def two(files: Catalogue, **more: Any) -> dict[str, settings.Settings]:
    return fleet(
        files,
        spark_01={"ssh_hostname": "192.0.2.1", **more},
        spark_02={"ssh_hostname": "192.0.2.2", **more},
    )


def test_ranks_are_in_inventory_order_and_meet_on_the_fabric() -> None:
    fabric = {"addresses": ["192.168.100.2/24", "192.168.101.2/24"]}
    found = replicas.ranks(
        {
            "alone": {},
            "z": {"replica": "pair", "ssh_hostname": "192.0.2.1", "fabric": fabric},
            "a": {"replica": "pair", "ssh_hostname": "192.0.2.2", "cluster_address": "192.0.2.9"},
            "single": {"replica": "one"},
        }
    )
    assert found["alone"] == found["single"] == ()
    assert [(r.host, r.address) for r in found["a"]] == [("z", "192.168.100.2"), ("a", "192.0.2.9")]
    assert found["z"][0].fabric == ("192.168.100.2", "192.168.101.2")


def test_all_ranks_have_one_release_that_says_how_they_meet(files: Catalogue) -> None:
    hosts = two(files)
    assert replicas.mistakes(hosts, KEYS) == []
    first, second = (render.release(s) for s in hosts.values())
    assert first == second
    config = yaml.safe_load(first.files["vllm.yaml"])
    meeting = {"nnodes": 2, "master-addr": "192.0.2.1", "master-port": 29501}
    assert {k: config[k] for k in meeting} == meeting
    assert (config["distributed-executor-backend"], config["tensor-parallel-size"]) == ("mp", 2)
    told = json.loads(first.files["release.json"])["replica"]
    assert (told["backend"], told["port"]) == ("mp", 29501)
    assert [rank["host"] for rank in told["ranks"]] == ["spark-01", "spark-02"]
    assert "infiniband" not in first.files["compose.yaml"]


def test_a_fabric_gives_rdma_devices_and_ncclss_word(files: Catalogue) -> None:
    hosts = fleet(
        files,
        spark_01={"fabric": {"addresses": ["192.168.100.1/24", "192.168.101.1/24"]}},
        spark_02={"fabric": {"addresses": ["192.168.100.2/24", "192.168.101.2/24"]}},
    )
    made = render.release(hosts["spark-02"]).files
    compose = yaml.safe_load(made["compose.yaml"])["services"]["vllm"]
    assert compose["devices"] == ["/dev/infiniband:/dev/infiniband"]
    assert "NCCL_DEBUG=INFO" in made["vllm.env"].splitlines()


def test_ray_forms_the_cluster_itself(files: Catalogue) -> None:
    config = vllm_config.serve_config(two(files, cluster_backend="ray")["spark-01"])
    assert config["distributed-executor-backend"] == "ray" and "nnodes" not in config


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"ssh_hostname": "spark-02.lan"}, "spark-02: cluster_address: missing"),
        ({"ssh_hostname": "192.0.2.1"}, "found 192.0.2.1, which spark-01 has"),
        ({"ssh_hostname": "192.0.2.2", "port": 9000}, "spark-02: port: found 9000, allowed: 8000"),
        ({"ssh_hostname": "192.0.2.2", "vllm_args": {"seed": 1}}, "spark-02: vllm_args: found"),
    ],
)
def test_what_differs_in_a_replica_is_refused(
    files: Catalogue, own: dict[str, Any], told: str
) -> None:
    hosts = fleet(files, spark_01={"ssh_hostname": "192.0.2.1"}, spark_02=own)
    [line] = replicas.mistakes(hosts, KEYS)
    assert told in line


def test_sizes_are_those_of_the_replica(files: Catalogue) -> None:
    [line] = problems(files, 2)
    assert "in all 1 GPUs; the replica has 2" in line
    [line] = problems(files, 2, tensor_parallel=4)
    assert "in all 4 GPUs; the replica has 2" in line


def test_a_run_takes_a_replica_whole(files: Catalogue) -> None:
    hosts = two(files)
    assert replicas.torn(hosts, ["spark-01", "spark-02"]) == []
    [line] = replicas.torn(hosts, ["spark-02"])
    assert "replica pair: found spark-02 without spark-01" in line


@pytest.mark.parametrize(
    ("reached", "level"), [(True, "ready"), (False, "blocked"), (None, "warn")]
)
def test_hosts_without_a_fabric_have_to_reach_each_other(
    files: Catalogue, reached: bool | None, level: str
) -> None:
    now = snapshot().model_copy(update={"fabric": Fabric(reached={"192.0.2.2": reached})})
    [found] = preflight_fabric.fabric(two(files)["spark-01"], now)
    assert (found.name, found.level) == ("replica peers", level)
