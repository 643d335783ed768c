"""A page never claims more than its verdict: what a row of ``qualification.tsv`` says is held against itself."""

from typing import Any

from isocenter.report.wording import is_missing

#: how the sentence of each verdict ends, and of no other
ENDS = {
    "qualified": "Precision supports this use.",
    "not_qualified": "Precision does not support this use.",
    "indeterminate": "Precision does not settle this use.",
}


def find_contradictions(row: Any) -> list[str]:
    """What in a row claims more than its numbers or its verdict, one sentence each; the sentence is then not shown."""
    verdict, sentence = str(row.get("verdict")), "" if is_missing(row.get("sentence")) else str(row["sentence"])
    found = []
    if verdict not in ENDS:
        found.append(f"“{verdict}” is none of the three verdicts")
    elif sentence and not sentence.rstrip().endswith(ENDS[verdict]):
        found.append("the sentence does not end as its verdict does")
    if any(end in sentence for word, end in ENDS.items() if word != verdict):
        found.append("the sentence claims another verdict")
    upper, delta = row.get("upper95"), row.get("delta")
    if verdict == "qualified" and (is_missing(upper) or is_missing(delta) or not float(upper) <= float(delta)):
        found.append("it is qualified without an upper bound within the change that matters")
    return found
