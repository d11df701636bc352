"""Every metric that an alert or a panel asks for is on the page of a real sidecar, with those labels. Alerts fire."""

import http.client
import json
import re
import socket as sockets
from pathlib import Path

import pytest
import yaml
from conftest import DEPLOY, documents, run, tool

MONITORING = DEPLOY / "kubernetes/monitoring"
[ALERTS] = documents((MONITORING / "alerts.yaml").read_text())
BOARD = json.loads((MONITORING / "board.json").read_text())
RULES = [rule for group in ALERTS["spec"]["groups"] for rule in group["rules"]]
TARGETS = [(panel["title"], target["expr"]) for panel in BOARD["panels"] for target in panel["targets"]]
VARIABLES = [variable["definition"] for variable in BOARD["templating"]["list"] if variable["type"] == "query"]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [expression for _, expression in TARGETS] + VARIABLES
# Those that scraping adds.
SCRAPED = {"pod", "instance"}

Page = dict[str, dict[str, set[str]]]


@pytest.fixture
def page(socket: Path) -> Page:
    """What the sidecar prints, after a request: sample -> label -> values."""
    connection = http.client.HTTPConnection("sidecar")
    connection.sock = sockets.socket(sockets.AF_UNIX)
    connection.sock.connect(str(socket))
    connection.request("POST", "/v1/locks/orders/42")
    assert json.loads(connection.getresponse().read())["fence"]
    connection.request("GET", "/metrics")
    samples: Page = {}
    for line in connection.getresponse().read().decode().splitlines():
        if sample := re.match(r"(sidelock_\w+)(?:\{(.*)\})? ", line):
            labels = samples.setdefault(sample[1], {})
            for name, value in re.findall(r'(\w+)="([^"]*)"', sample[2] or ""):
                labels.setdefault(name, set()).add(value)
    return samples


def asked(expression: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each metric of an expression, with the labels that it is matched by."""
    found = re.findall(r"(sidelock_\w+)(?:\{([^}]*)\})?", expression)
    return [(metric, re.findall(r'(\w+)=~?"([^"]*)"', matchers)) for metric, matchers in found]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_label_exists(page: Page, expression: str) -> None:
    metrics = asked(expression)
    assert metrics, "an expression asks for something of ours"
    for metric, matchers in metrics:
        assert metric in page, f"{metric} is none of {sorted(page)}"
        for label, _ in matchers:
            assert label in page[metric].keys() | SCRAPED, f"{metric} has no {label}"
    known = {label for metric, _ in metrics for label in page[metric]} | SCRAPED
    for labels in re.findall(r"\b(?:by|without|on|group_left) \(([^)]*)\)", expression):
        assert set(re.split(r", *", labels)) <= known, labels


def test_every_value_that_is_asked_for_exists(page: Page) -> None:
    wire = (DEPLOY.parent / "sdk/wire/src/code.rs").read_text()
    page["sidelock_requests_total"]["outcome"] |= set(re.findall(r'row\(Code::\w+, "(\w+)"', wire))
    page["sidelock_store_info"]["kind"] |= {"redis"}
    for rule in RULES:
        for metric, matchers in asked(rule["expr"]):
            for label, values in matchers:
                assert set(values.split("|")) <= page[metric][label], (rule["alert"], label)


def test_no_way_to_lose_a_lease_goes_unwatched(page: Page) -> None:
    watched = {
        reason
        for rule in RULES
        for name, matchers in asked(rule["expr"])
        for label, values in matchers
        if (name, label) == ("sidelock_leases_lost_total", "reason")
        for reason in values.split("|")
    }
    # What a sidecar that is no more had granted is told by its clients' SDKs; resets of its uptime are watched.
    assert watched | {"sidecar_restarted"} == page["sidelock_leases_lost_total"]["reason"]


def test_prometheus_reads_the_rules_and_the_board(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(ALERTS["spec"]))
    said = run(tool("promtool"), "check", "rules", tmp_path / "rules.yaml")
    assert f"{len(RULES)} rules found" in said
    plain = [expression.replace("$__rate_interval", "5m").replace("$pod", ".*") for _, expression in TARGETS]
    recorded = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(plain)]
    (tmp_path / "board.yaml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": recorded}]}))
    run(tool("promtool"), "check", "rules", tmp_path / "board.yaml")


def worded(alert: dict, rule: dict) -> dict:
    """What a story expects of an alert, with the words that stand in its rule."""
    value, labels = alert.get("value", ""), alert["exp_labels"] | rule["labels"]
    filled = {"$labels.pod": labels["pod"], "$value | humanizeDuration": value, "$value": value}
    annotations = dict(rule["annotations"])
    for name in annotations:
        for variable, text in filled.items():
            annotations[name] = annotations[name].replace(f"{{{{ {variable} }}}}", text)
    return {"exp_labels": labels, "exp_annotations": annotations}


def test_every_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(ALERTS["spec"]))
    stories = yaml.safe_load((Path(__file__).parent / "alerts.test.yaml").read_text())
    rules = {rule["alert"]: rule for rule in RULES}
    checks = [check for story in stories["tests"] for check in story["alert_rule_test"]]
    for fires in (True, False):
        told = {check["alertname"] for check in checks if ("exp_alerts" in check) == fires}
        assert told == rules.keys(), "each has a story in which it fires, and one in which it does not"
    for check in checks:
        alerts = check.get("exp_alerts", [])
        check["exp_alerts"] = [worded(alert, rules[check["alertname"]]) for alert in alerts]
    (tmp_path / "stories.yaml").write_text(yaml.safe_dump(stories))
    run(tool("promtool"), "test", "rules", "stories.yaml", cwd=tmp_path)


def test_the_board_is_whole() -> None:
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    cells = [
        (x, y)
        for panel in BOARD["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells)), "no panel lies on another"
    assert max(x for x, _ in cells) < 24
    sources = {panel["datasource"]["uid"] for panel in BOARD["panels"]}
    assert sources == {"${datasource}"}, "it works with whatever Prometheus it is shown"


def test_the_monitor_finds_the_sidecars() -> None:
    [monitor] = documents((MONITORING / "podmonitor.yaml").read_text())
    [_, deployment] = documents((DEPLOY / "kubernetes/sidecar.yaml").read_text())
    pod = deployment["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    ports = [port["name"] for port in pod["spec"]["initContainers"][0]["ports"]]
    assert endpoint["port"] in ports and endpoint["path"] == "/metrics"
