"""Judges Azure's verdicts and prints the table: python -m tests.verdicts [--show] [TEMPLATE...].

A TEMPLATE is a name, with or without its version: `selinux`, `selinux/v2`.
"""

import argparse
import json
import sys

from tests.verdicts import cases, judge, table


def main() -> int:
    """Exit 1 where a disagreement has no explanation, 2 where there are no verdicts, or a template does not work."""
    parser = argparse.ArgumentParser(prog="python -m tests.verdicts", description=__doc__.splitlines()[0])
    parser.add_argument(
        "templates", nargs="*", metavar="TEMPLATE", help="a name, with or without version (default: all)"
    )
    parser.add_argument("--show", action="store_true", help="print each unexplained disagreement as JSON lines, too")
    arguments = parser.parse_args()
    wanted = set(arguments.templates)
    verdicts = [
        each
        for each in cases.verdicts()
        if not wanted or wanted & {each.case.template, each.case.template.split("/")[0]}
    ]
    if not verdicts:
        print(f"there are no verdicts to judge in {cases.FOLDER}", file=sys.stderr)
        return 2
    try:
        rows = table.compare(verdicts)
    except judge.JudgeError as exc:
        print(exc, file=sys.stderr)
        return 2
    print(*table.lines(rows), sep="\n")
    unexplained = [("hole", each) for row in rows.values() for each in row.holes]
    unexplained += [("wrong deny", each) for row in rows.values() for each in row.wrong_denies]
    if arguments.show:
        for fault, each in unexplained:
            shown = {"fault": fault, "template": each.case.template, "parameters": each.case.parameters}
            print(json.dumps({**shown, "manifest": each.case.manifest}))
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
