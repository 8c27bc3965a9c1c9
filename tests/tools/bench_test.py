#!/usr/bin/env python3
"""What tools/bench computes and prints from measured numbers: nothing is measured here."""

import pathlib
import sys
import tempfile
import unittest
from xml.etree import ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from benchlib import (candidates, measuring, picture, ports, profile, report, tables, targets, workload,  # noqa: E402
                      workloads, wrk)
from benchlib.results import HIGHER, LOWER, Results, derived, spread  # noqa: E402

ABOUT = {"command": "tools/bench", "quick": False, "rounds": 2, "complete": 2, "seconds": 1, "cores": 2,
         "versions": {"Linux": "6.1"}}


def results_of(name="iperf3 1", unit="GiB", protocol="tcp", **figures):
    """Candidates are written with _ for -; each has a list of figures, one a round."""
    rounds = {candidate.replace("_", "-"): figure for candidate, figure in figures.items()}
    described = {"name": name, "protocol": protocol, "unit": unit, "pinned": True, "candidates": list(rounds)}
    return Results(ABOUT, [described], {name: rounds})


def costs(*values):
    return [{"units": 10, "seconds": 1, "errors": 0, "rate": 10, "cpu_per_unit": value} for value in values]


FAILED = derived(workload.Workload("any").failed(1, "it said\nno"))


class Ports(unittest.TestCase):
    def test_they_are_below_or_above_the_ephemeral_ones(self):
        allowed = ports.outside_of(32768, 60999)
        self.assertEqual((allowed[0], allowed[-1]), (10_000, 65_535))
        self.assertFalse(set(range(32768, 61000)) & set(allowed))

    def test_with_a_wide_range_unprivileged_ones_are_left(self):
        allowed = ports.outside_of(9_000, 65_535)
        self.assertEqual((allowed[0], allowed[-1]), (1024, 8_999))

    def test_with_nothing_left_any_port_has_to_do(self):
        self.assertTrue(ports.outside_of(1024, 65_535))

    def test_none_is_given_twice(self):
        given = [ports.free_port() for _ in range(50)]
        self.assertEqual(len(set(given)), 50)


class Profile(unittest.TestCase):
    TEXT = """
# Children      Self  Symbol
    97.00%     1.00%  [k] do_syscall_64      -      -
    60.00%     2.00%  [k] splice_to_socket   -      -
    55.00%     1.00%  [k] sock_sendmsg       -      -
    50.00%     1.00%  [k] tcp_sendmsg        -      -
    40.00%     2.00%  [k] __tcp_transmit_skb -      -
    20.00%     1.00%  [k] tcp_splice_read    -      -
     6.00%     2.00%  [.] main               -      -
     1.00%     1.00%  [.] another            -      -
"""

    def test_shares(self):
        shares = {name.split(",")[0]: round(share, 2) for name, share in profile.shares(self.TEXT).items()}
        self.assertEqual(shares, {"receiving": 0.2, "sending": 0.5, "connecting": 0,
                                  "in the program and its libraries": 0.03,
                                  "the rest of the kernel: waiting": 0.27, "segments": 0.4})

    def test_nothing_was_sampled(self):
        self.assertEqual(profile.shares("")["receiving"], 0)


class Figures(unittest.TestCase):
    def test_derived(self):
        figure = derived({"units": 50, "seconds": 2, "errors": 0, "cpu": 5, "offered": 100, "lost": 25})
        self.assertEqual((figure["rate"], figure["cpu_per_unit"], figure["loss"]), (25, 0.1, 25))

    def test_a_failure_has_every_figure_that_tables_read(self):
        self.assertEqual((FAILED["rate"], FAILED["cpu_per_unit"], FAILED["errors"]), (0, 0, 1))

    def test_spread(self):
        self.assertEqual(spread([]), "–")
        self.assertEqual(spread([2]), "2.00")
        self.assertEqual(spread([3, 1, 2]), "2.00 (1.00–3.00)")

    def test_ratios_are_those_of_rounds_in_which_both_have_a_figure(self):
        results = results_of(nginx=[*costs(2), FAILED, *costs(4)], millrace_auto=[*costs(1), *costs(1), *costs(1)])
        self.assertEqual(results.ratios("iperf3 1", "millrace-auto", "nginx", "cpu_per_unit"), [0.5, 0.25])

    def test_the_better_peer_is_chosen_by_the_median_of_each_figure(self):
        results = results_of(haproxy_splice=costs(1, 5, 5), nginx=costs(2, 2, 2), millrace_auto=costs(0.1, 0.1, 0.1))
        self.assertEqual(results.better_peer("iperf3 1", "cpu_per_unit", LOWER), "nginx")
        self.assertEqual(results.better_peer("iperf3 1", "cpu_per_unit", HIGHER), "haproxy-splice")
        self.assertIsNone(results.better_peer("iperf3 1", "p99", LOWER))

    def test_a_peer_that_failed_is_not_the_better_one(self):
        results = results_of(haproxy_splice=[FAILED], nginx=costs(9))
        self.assertEqual(results.better_peer("iperf3 1", "cpu_per_unit", LOWER), "nginx")

    def test_a_file_brings_back_what_was_saved(self):
        results = results_of(nginx=costs(1), millrace_auto=[FAILED])
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            results.save(file.name)
            self.assertEqual(report.markdown(Results.load(file.name)), report.markdown(results))


class Targets(unittest.TestCase):
    def row(self, target, results):
        return target.row(results)[2:]

    def test_met_and_not_met(self):
        target = targets.cpu("iperf3 1", "GiB", 0.55, "haproxy-splice")
        for ours, verdict in ((0.5, "met"), (0.554, "met"), (0.56, "**not met**")):
            results = results_of(haproxy_splice=costs(1), millrace_auto=costs(ours))
            self.assertEqual(self.row(target, results)[-1], verdict)

    def test_at_least_against_the_peer_with_the_higher_figure(self):
        target = targets.Target("iperf3 1", "throughput", "cpu_per_unit", 1.1, targets.BETTER, at_least=True)
        results = results_of(haproxy_auto=costs(2), nginx=costs(3), millrace_auto=costs(3))
        self.assertEqual(self.row(target, results), ["≥ 1.1 of the better peer (nginx)", "1.00", "**not met**"])

    def test_an_absolute_one(self):
        target = targets.Target("iperf3 1", "memory", "cpu_per_unit", 400, unit=" B")
        self.assertEqual(self.row(target, results_of(millrace_auto=costs(339.6)))[1:], ["340 B", "met"])

    def test_not_measured(self):
        self.assertTrue(all(target.row(results_of(nginx=[]))[-1] == "not measured" for target in targets.all_targets()))
        failed = results_of(haproxy_splice=costs(1), millrace_auto=[FAILED])
        self.assertEqual(targets.cpu("iperf3 1", "GiB", 1, "haproxy-splice").row(failed)[-1], "not measured")

    def test_every_target_names_a_workload_and_candidates_that_there_are(self):
        names = {w.name: w.candidates for w in workloads.all_workloads(8000, 20_000)}
        for target in targets.all_targets():
            self.assertIn(target.workload, names)
            for candidate in {target.candidate, target.against} - {None, targets.BETTER}:
                self.assertIn(candidate, names[target.workload])


class Output(unittest.TestCase):
    def test_a_table_has_a_row_for_each_candidate_and_as_many_cells_everywhere(self):
        results = results_of(direct=costs(0), nginx=costs(1, 2), millrace_auto=[FAILED, *costs(1)])
        (title, text), *more = tables.all_tables(results)
        self.assertEqual((title, more), ("TCP", []))
        self.assertEqual(len(text.splitlines()), 5)
        self.assertEqual(len({line.count("|") for line in text.splitlines()}), 1)

    def test_a_failure_is_told_by_its_last_line(self):
        self.assertIn("- iperf3 1 by nginx: no\n", report.markdown(results_of(nginx=[FAILED])))

    def test_the_picture_is_xml_with_a_bar_for_each_candidate_and_cuts_long_ones(self):
        results = results_of("a < b & c", direct=costs(0), haproxy_splice=costs(1), nginx=costs(9), millrace_auto=costs(0.5))
        root = ElementTree.fromstring(picture.svg(results))
        words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        for expected in ("a < b & c", "1.00", "9.00 →", "0.50"):
            self.assertIn(expected, words)
        for element in root.iter("{http://www.w3.org/2000/svg}rect"):
            self.assertLessEqual(float(element.get("x")) + float(element.get("width")), picture.WIDTH)

    def test_a_picture_of_nothing(self):
        ElementTree.fromstring(picture.svg(results_of(millrace_auto=costs(1))))


class Measuring(unittest.TestCase):
    def test_what_goes_wrong_is_an_error_and_no_exception(self):
        plan = workloads.all_workloads(8000, 20_000)
        for one in (plan[0], plan[-1]):
            figure = measuring.measure_once(one, None, 1, None)
            self.assertEqual((figure["errors"], figure["units"]), (1, 0))
            self.assertIn("AttributeError", figure["failure"])

    def test_wrk(self):
        line = '{"bench": 1, "requests": 10, "seconds": 2.0, "errors": 1, "p50": 0.1, "p99": 0.2, "p999": 0.3}'
        figure = wrk.Wrk("w", "/", 1).parsed(f"Running\n{line}\n", 0, 2)
        self.assertEqual((figure["units"], figure["errors"], figure["p999"]), (10, 1, 0.3))
        self.assertEqual(wrk.Wrk("w", "/", 1).parsed("unable to connect\n", 1, 2)["failure"], "unable to connect\n")

    def test_every_workload_has_candidates_and_no_two_have_a_name(self):
        catalogue = candidates.catalogue("millrace", "floor")
        plan = workloads.all_workloads(8000, 20_000)
        self.assertEqual(len({w.name for w in plan}), len(plan))
        for one in plan:
            self.assertLessEqual(set(one.candidates), set(catalogue[one.protocol]))

    def test_no_configuration_is_left_with_a_gap(self):
        for protocol in candidates.catalogue("millrace", "floor").values():
            for candidate in protocol.values():
                if candidate.name != "direct":
                    text = candidate.configuration(1, ["127.0.0.1:2"], "/tmp")
                    self.assertNotRegex(text, "@[A-Z]+@")


if __name__ == "__main__":
    unittest.main()
