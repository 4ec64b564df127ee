"""What operators watch by says what it must: each alert's texts and labels, each panel of the dashboard."""

import json
import re
import unittest

import yaml

from render import ROOT

RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
TESTS = RULES.with_name("rules_test.yaml")
DASHBOARD = ROOT / "deploy" / "grafana" / "chat-gateway.json"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def rules():
    """Each rule, recording ones too."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts():
    """Each alert's rule."""
    return [rule for rule in rules() if "alert" in rule]


def panels():
    """Each panel that shows something."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


class Alerts(unittest.TestCase):
    def test_each_says_how_bad_it_is_how_much_and_what_to_do(self):
        for rule in alerts():
            with self.subTest(rule["alert"]):
                self.assertIn(rule["labels"]["severity"], ("critical", "warning"))
                self.assertLessEqual({"summary", "description", "runbook"}, set(rule["annotations"]))
                self.assertIn("$value", rule["annotations"]["description"])
                self.assertNotIn("{{", rule["annotations"]["summary"])  # one title for one alert, however many replicas

    def test_no_text_asks_for_a_label_that_the_alert_lacks(self):
        tests = TESTS.read_text()
        for rule in alerts():
            with self.subTest(rule["alert"]):
                asked = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["description"]))
                fires = re.findall(rf'alertname="{rule["alert"]}"([^}}]*)}}', tests)
                labels = set(re.findall(r"(\w+)=", " ".join(fires)))
                kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))))
                self.assertLessEqual(asked, labels | kept)
                self.assertEqual("instance" in asked, "instance" in labels)

    def test_a_pager_rings_only_for_what_has_lasted(self):
        at_once = {rule["alert"] for rule in alerts() if rule["labels"]["severity"] == "critical" and "for" not in rule}
        lasting = {"ChatGatewayStoreDown", "ChatGatewayStoreCut"}  # two minutes of the five that they look at
        self.assertEqual(at_once - {"ChatGatewayHistoryWentBack"}, lasting | {"ChatGatewayConnectionsRefused"})

    def test_whatever_is_added_up_keeps_its_cluster_and_namespace(self):
        for rule in rules():
            for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", rule["expr"]):
                with self.subTest(rule.get("alert", rule.get("record"))):
                    self.assertEqual(labels.split(", ")[:3], ["cluster", "namespace", "job"])


class Dashboard(unittest.TestCase):
    def test_each_panel_has_what_a_reader_needs(self):
        for panel in panels():
            with self.subTest(panel["title"]):
                self.assertEqual(panel["datasource"], DATASOURCE)
                self.assertTrue(panel["description"])
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                for target in panel["targets"]:
                    self.assertEqual(target["datasource"], DATASOURCE)
                    self.assertTrue(target["legendFormat"])

    def test_each_query_asks_for_the_chosen_replicas(self):
        for panel in panels():
            for target in panel["targets"]:
                for selector in re.findall(r"\{([^}]*)\}", target["expr"]):
                    with self.subTest(panel["title"], selector=selector):
                        for label in ("cluster", "namespace", "job", "instance"):
                            self.assertRegex(selector, rf'\b{label}=~"\${label}\|?"')

    def test_no_panel_lies_on_another(self):
        taken = set()
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            place = panel["gridPos"]
            columns, lines = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
            cells = {(x, y) for x in columns for y in lines}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            taken |= cells
        ids = [panel["id"] for panel in panels()]
        self.assertEqual(len(ids), len(set(ids)))

    def test_each_dashed_line_of_an_alert_is_where_the_alert_is(self):
        thresholds = {rule["alert"]: re.findall(r"[<>] ([0-9.]+)", rule["expr"]) for rule in alerts()}
        for panel in panels():
            steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            for alert in re.findall(r"Dashed: (?:.*)(ChatGateway\w+)\.", panel["description"]):
                with self.subTest(panel["title"]):
                    self.assertIn(steps[-1]["value"], [float(number) for number in thresholds[alert]])


if __name__ == "__main__":
    unittest.main()
