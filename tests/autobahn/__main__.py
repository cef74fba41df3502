"""Let the Autobahn test suite judge how each station transport speaks WebSocket: `make autobahn`.

    make autobahn                                   # every transport, every case that is meant for it
    make autobahn ARGS='--transport dense'          # one transport
    make autobahn ARGS='--cases 5.* 7.1.6'          # some cases
    make autobahn ARGS='--brief'                    # of the many about compression one in each group

The suite runs on CPython 2.7 only. One is looked for in AUTOBAHN_PYTHON, on the PATH and among pyenv's; the suite is
installed into `.venv/autobahn`, and its report, with every byte that was exchanged, stands in
`.venv/autobahn/<transport>/index.html`. Exit codes: 0 every case was passed, 1 one was not, 2 wrong usage, 3 the
suite cannot run here.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from .python2 import NoSuite, fuzzing_client
from .transports import TRANSPORTS, Transport
from .trial import BASIC, BRIEF, DEFLATE, KEPT, Trial, attempt
from .verdicts import PASSED, Verdict, by_number, group

COLUMNS = ("OK", "NON-STRICT", "INFORMATIONAL", "BINARY", "failed")


def table(title: str, verdicts: Mapping[str, Verdict]) -> str:
    """Return how many cases of each group came out how, and those about which there is something to say."""
    groups: dict[str, Counter[str]] = {}
    for case in sorted(verdicts, key=by_number):
        outcome = verdicts[case].outcome
        groups.setdefault(group(case), Counter())[outcome if outcome in PASSED else "failed"] += 1
    groups["all"] = sum(groups.values(), Counter[str]())
    rows: list[tuple[str, ...]] = [(title, "cases", *COLUMNS)]
    for name, counts in groups.items():
        rows.append((name, str(counts.total()), *(str(counts[column] or "-") for column in COLUMNS)))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    for case in sorted(verdicts, key=by_number):
        if verdicts[case].outcome not in {"OK", "BINARY"}:
            lines.append(f"    {case:<8} {verdicts[case]}")
    return "\n".join(lines)


def judged(trial: Trial) -> bool:
    """Print what came of a trial; return whether the transport passed."""
    print("", table(trial.transport.name, trial.verdicts), sep="\n")
    print(f"    {trial.seconds:.0f} s; the log holds {trial.story}")
    for fault in trial.faults:
        print(f"    FAULT: {fault}")
    return not trial.faults and all(verdict.outcome in PASSED for verdict in trial.verdicts.values())


def cases_for(transport: Transport, asked: Sequence[str], *, brief: bool) -> Sequence[str]:
    """Return the patterns of the cases that a transport is tried with."""
    if asked:
        return asked
    if not transport.deflates:
        return BASIC
    return (*BASIC, *(BRIEF if brief else DEFLATE))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="make autobahn", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [transport.name for transport in TRANSPORTS]
    parser.add_argument("--transport", action="append", choices=names, help="default: each of them")
    parser.add_argument("--cases", nargs="+", default=(), metavar="CASE", help="1.*, 7.1.6, ...; default: all")
    parser.add_argument("--brief", action="store_true", help="of compression, one case in each group")
    parser.add_argument("--if-possible", action="store_true", help="be content where the suite cannot run")
    options = parser.parse_args(arguments)
    try:
        client = fuzzing_client()
    except NoSuite as error:
        print(error, file=sys.stderr)
        return 0 if options.if_possible else 3
    chosen = [one for one in TRANSPORTS if one.name in (options.transport or names)]
    passed = [judged(attempt(client, one, cases_for(one, options.cases, brief=options.brief))) for one in chosen]
    print("", f"The suite's own reports: {KEPT.parent.name}/{KEPT.name}/<transport>/index.html", sep="\n")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
