#!/usr/bin/env python3
"""Breaks each alert of deploy/prometheus/rules.yaml in every small way, and sees that its unit tests notice.

A mutant is one alert with another threshold, comparison, condition, selector or `for`. Prints a table, and fails where one lives.
Wants promtool and PyYAML; takes four minutes on two cores: run it after a change to the rules, `mutate_rules.py [ALERT…]`.
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

RULES = pathlib.Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yaml"
TESTS = RULES.with_name("rules_test.yaml")
NUMBER = re.compile(r"(?<=[><=] )([0-9.]+)\b")
COMPARISON = re.compile(r" (>|<|==|!=) ")
FLIPPED = {">": "<", "<": ">", "==": "!=", "!=": "=="}


def numbers(expr):
    """Each threshold twice and half as high; of nothing, one."""
    for match in NUMBER.finditer(expr):
        value = float(match[1])
        for other in [value * 2, value / 2] if value else [1.0]:
            yield f"threshold {match[1]} → {other:g}", expr[: match.start()] + f"{other:g}" + expr[match.end() :]


def comparisons(expr):
    for match in COMPARISON.finditer(expr):
        other = FLIPPED[match[1]]
        yield f"comparison {match[1]} → {other}", f"{expr[:match.start()]} {other} {expr[match.end():]}"
        if expr[match.start() :].startswith(" > 0") and not expr[match.end() :].startswith("0."):
            yield "comparison > → >=", f"{expr[:match.start()]} >= {expr[match.end():]}"


def legs(expr):
    """Without one condition. Only at the top: what is in parentheses is one operand."""
    depth, splits = 0, []
    for match in re.finditer(r"[()]| (and|or|unless)\b|\n *(and|or|unless)\b", expr):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0 and match[0] not in "()":
            splits.append(match.start())
    parts = [expr[a:b] for a, b in zip([0, *splits], [*splits, len(expr)])]
    for number in range(len(parts) if len(parts) > 1 else 0):
        rest = parts[:number] + parts[number + 1 :]
        rest[0] = re.sub(r"^\s*(and|or|unless)\b( on \([^)]*\))?", "", rest[0])
        yield f"without {' '.join(parts[number].split())[:40]}…", "".join(rest)


def selectors(expr):
    for match in re.finditer(r"\{[^}]*\}", expr):
        if not match[0].startswith("{job="):
            yield f"without {match[0]}", expr[: match.start()] + expr[match.end() :]


def durations(rule):
    """Its `for` gone, and a minute shorter and longer."""
    wait = rule.get("for")
    if wait:
        minutes = int(wait[:-1]) * (60 if wait.endswith("h") else 1)
        for other in {0, minutes - 1, minutes + 1}:
            yield f"for {wait} → {other}m", {**rule, "for": f"{other}m"}


def mutants(rule):
    for mutate in (numbers, comparisons, legs, selectors):
        for name, expr in mutate(rule["expr"]):
            yield mutate.__name__, name, {**rule, "expr": expr}
    for name, mutant in durations(rule):
        yield "for", name, mutant


def passes(groups, suite, tests):
    """Whether promtool accepts these rules by these tests."""
    with tempfile.TemporaryDirectory() as folder:
        rules_file, tests_file = pathlib.Path(folder, "rules.yaml"), pathlib.Path(folder, "test.yaml")
        rules_file.write_text(yaml.safe_dump({"groups": groups}))
        tests_file.write_text(yaml.safe_dump({**suite, "rule_files": [str(rules_file)], "tests": tests}))
        run = subprocess.run(["promtool", "test", "rules", str(tests_file)], capture_output=True, text=True, check=False)
        if run.returncode and "FAILED" not in run.stderr + run.stdout:
            raise SystemExit(f"promtool: {run.stderr}")
        return run.returncode == 0


def lives(alert, mutant, groups, suite):
    """Whether the tests pass. Those that are most likely to notice come first, by little more than this rule, which is quick."""

    def with_only(keep):
        rules = [[mutant if rule.get("alert") == alert else rule for rule in filter(keep, group["rules"])] for group in groups]
        return [{**group, "rules": rules} for group, rules in zip(groups, rules)]

    own, named, others = [], [], []
    for test in suite["tests"]:
        words = re.findall(r"\w+", test["name"])
        (own if words[0] == alert else named if alert in words else others).append(test)
    alone = with_only(lambda rule: rule.get("alert") == alert or rule.get("record", " ") in mutant["expr"])
    everything = with_only(lambda _: True)
    return passes(alone, suite, own) and all(passes(everything, suite, tests) for tests in (named, others))


def main():
    groups, suite = yaml.safe_load(RULES.read_text())["groups"], yaml.safe_load(TESTS.read_text())
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    rules = [rule for rule in rules if rule["alert"] in sys.argv or not sys.argv[1:]]
    made = [(rule["alert"], *mutant) for rule in rules for mutant in mutants(rule)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        living = list(pool.map(lambda m: lives(m[0], m[3], groups, suite), made))
    table = collections.defaultdict(collections.Counter)
    for (alert, kind, _, _), alive in zip(made, living):
        table[alert][kind] += 1
        table[alert]["alive"] += alive
    kinds = ["numbers", "comparisons", "legs", "selectors", "for", "alive"]
    print(f"{'alert':32}", *(f"{kind:>11}" for kind in kinds))
    for alert, counts in table.items():
        print(f"{alert:32}", *(f"{counts[kind]:11}" for kind in kinds))
    survivors = [f"{alert}: {name}" for (alert, _, name, _), alive in zip(made, living) if alive]
    print(f"{len(made)} mutants, {len(survivors)} alive", *survivors, sep="\n")
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main())
