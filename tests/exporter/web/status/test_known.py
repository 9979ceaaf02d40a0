"""What the status page takes from the exposition."""

from __future__ import annotations

from exporter.web.status.known import Known, read_known


def test_freshness_and_waiting_jobs() -> None:
    known = read_known(
        "# TYPE ci_exporter_last_success_timestamp_seconds gauge\n"
        'ci_exporter_last_success_timestamp_seconds{collector="gitlab"} 1.7e+09\n'
        "# TYPE ci_exporter_collector_success gauge\n"
        'ci_exporter_collector_success{collector="gitlab"} 0.0\n'
        'ci_exporter_collector_success{collector="other"} 1.0\n'
        "# TYPE ci_runner_queue_jobs gauge\n"
        'ci_runner_queue_jobs{provider="gitlab",runner_type="group",tags="a"} 2.0\n'
        'ci_runner_queue_jobs{provider="gitlab",runner_type="group",tags="b"} 3.0\n'
        'ci_runner_queue_jobs{provider="gitlab",runner_type="none",tags="c"} 1.0\n'
    )
    assert known == Known({"gitlab": 1.7e9}, frozenset({"gitlab"}), {"group": 5, "none": 1})


def test_runners_without_a_queue_are_not_the_same_as_no_runners() -> None:
    runners = '# TYPE ci_runners gauge\nci_runners{provider="a",runner_type="group",status="online"} 1\n'
    assert read_known(runners).waiting == {}
    assert read_known("").waiting is None
