"""The zoo as a table in Markdown: ``python -m tests.interop.table``.

Made from the list that the tests run from, so that it cannot say what no test shows.
"""

from typing import Final

from tests.interop import cases as c
from tests.interop.cases import Case
from tests.interop.clients import Client
from tests.interop.zoo import BY_CHANCE, CANNOT, PLAIN, TRIALS, Trial

COLUMNS: Final[tuple[tuple[str, tuple[Case, ...]], ...]] = (
    ("uploads", (c.small, c.large, c.exact_border)),
    ("cut, resumes", (c.cut_by_fin, c.cut_by_rst)),
    ("server killed or restarted, resumes", (c.killed, c.stopped)),
    ("last answer lost, recovers", (c.lost_answer,)),
    ("ended, goes on in another run", (c.another_run, c.reload, c.restore)),
    ("pauses", (c.pause, c.offline)),
    ("deletes", (c.terminate,)),
    ("its own end-to-end tests", (c.own_suite,)),
)


def build_table() -> str:
    """One row for each client in each of its versions, then what some cannot, and why."""
    notes: dict[str, int] = {}
    lines = [
        "| "
        + " | ".join(["client", "version", *(name for name, _ in COLUMNS), "also with"])
        + " |",
        "| --- " * (len(COLUMNS) + 3) + "|",
    ]
    for client in dict.fromkeys(trial.client for trial in TRIALS):
        mine = [trial for trial in TRIALS if trial.client is client]
        cells = [_cell(client, mine, cases, notes) for _, cases in COLUMNS]
        ways = dict.fromkeys(trial.way.name for trial in mine if trial.way is not PLAIN)
        name = f"{client.name} {client.where}".strip()
        row = [name, client.version, *cells, ", ".join(ways) or ""]
        lines.append("| " + " | ".join(row) + " |")
    lines += ["", *(f"{number}. {why}." for why, number in notes.items())]
    return "\n".join(lines) + "\n"


def _cell(client: Client, mine: list[Trial], cases: tuple[Case, ...], notes: dict[str, int]) -> str:
    tried = [trial for trial in mine if trial.case in cases]
    reasons = [why for trial in tried if (why := _fault(trial))]
    chance = [
        why for (other, _, case), why in BY_CHANCE.items() if other is client and case in cases
    ]
    if not tried and not chance:
        return ""
    marks = sorted({notes.setdefault(why, len(notes) + 1) for why in (*reasons, *chance)})
    verdict = "by chance" if not tried else "yes" if len(reasons) < len(tried) else "no"
    return " ".join([verdict, *(f"[{mark}]" for mark in marks)])


def _fault(trial: Trial) -> str | None:
    cannot = CANNOT.get((trial.client, trial.way.name, trial.case))
    return None if cannot is None else cannot.why


def build_lines(seen: dict[str, str]) -> list[str]:
    """What a run saw, a line for each client and option. ``seen``: outcomes by trial's name."""
    lines = []
    for client, way in dict.fromkeys((trial.client, trial.way) for trial in TRIALS):
        mine = [
            trial
            for trial in TRIALS
            if trial.client is client and trial.way is way and str(trial) in seen
        ]
        if mine:
            told = "; ".join(_told(trial, seen[str(trial)]) for trial in mine)
            lines.append(f"{client}, {way.name}: {told}")
    return lines


def _told(trial: Trial, outcome: str) -> str:
    sentence = " ".join((trial.case.__doc__ or "").split())
    if outcome != "passed":
        return f"NOT: {sentence}"
    return f"cannot: {sentence}" if _fault(trial) else sentence


if __name__ == "__main__":
    print(build_table(), end="")
