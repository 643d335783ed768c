"""Whether all runs of a site hold the same volumes and slices: a run that lacks some may still be fitted.

A series that lost its first echo on the way is whole by its own headers. The site's other runs show what it lacks.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isocenter.quality.acquisition import Acquisition
from isocenter.quality.check import Check, make_check
from isocenter.quality.consoles import Console
from isocenter.quality.protocol import console_of
from isocenter.quality.values import as_number, count_words

#: Headers round: values are the same within this share of themselves, and of the largest (a b-value of 0 or of 2).
SAME_SHARE, SAME_OF_LARGEST = 0.02, 0.002
#: How many values are told by name.
NAMED = 4

Values = tuple[float, ...]


@dataclass(frozen=True)
class Axis:
    """What varies over the volumes of one kind of series.

    key, unit : the sidecar key and the unit of its values
    is_listed : whether one sidecar lists the values of a 4D file, where equal ones are volumes of their own; of files
        for each value there may be several (phase beside magnitude), so that equal values are one
    is_own_to_scan : whether each scan has values of its own (a frame's time, a delay that the heart sets): then only
        their number is held against others
    """

    key: str
    unit: str
    is_listed: bool = False
    is_own_to_scan: bool = False


def check_sampling(
    acquisitions: Sequence[Acquisition],
    axes: Mapping[str, Axis],
    rule: Mapping[str, Any],
    told: Collection[Check] = (),
    consoles: Sequence[dict[str, Any]] = (),
) -> list[Check]:
    """The sampled values and the number of slices of every acquisition against those of most others like it.

    Alike are acquisitions of one suffix by one scanner, of people or of phantoms; one alone has nothing to be held
    against. Where as many hold one set of values as another, the fuller is expected.

    axes : what varies, by suffix · rule : ``same_volumes`` of the protocol
    told : checks of the protocol; what one of them says of a parameter of an acquisition is not said again
    """
    wrong = {(check.scope, check.parameter) for check in told if check.verdict != "pass"}
    alike: dict[tuple[str, bool, str], list[Acquisition]] = {}
    for one in acquisitions:
        if one.suffix in axes:
            alike.setdefault((one.suffix, one.kind == "phantom", one.text("Scanner")), []).append(one)
    checks = []
    for (suffix, _, _), group in sorted(alike.items()):
        if len(group) < 2:
            continue
        axis = axes[suffix]
        sampled = {one.scope: list_sampled(one, axis) for one in group}
        usual = find_usual(list(sampled.values()), axis)
        slices = {one.scope: one.grid.shape[2] for one in group if one.grid is not None}
        counts = Counter(slices.values())
        usual_slices = max(counts, key=lambda number: (counts[number], number), default=0)
        for one in group:
            console = console_of(one, consoles)
            if not any((one.scope, console.name(key)) in wrong for key in (axis.key, "NumberOfEchoes")):
                checks.append(_check_values(one, sampled[one.scope], usual, axis, rule, console))
            if one.scope in slices:
                checks.append(_check_slices(one, slices[one.scope], usual_slices, rule, console))
    return checks


def list_sampled(one: Acquisition, axis: Axis) -> Values:
    """What varies over the volumes of an acquisition, ascending."""
    numbers = sorted(number for number in map(as_number, one.values(axis.key)) if number == number)
    return tuple(numbers if axis.is_listed else sorted(set(numbers)))


def find_usual(found: Sequence[Values], axis: Axis) -> Values:
    """The values that most of `found` agree on; of equally many the fuller, then the first."""
    tally = Counter(found)  # of a thousand runs nearly all hold the same values

    def rank(one: Values) -> tuple[int, int]:
        return sum(n for other, n in tally.items() if not compare(one, other, axis)), len(one)

    return max(tally, key=rank, default=())


def compare(expected: Values, found: Values, axis: Axis) -> str:
    """How values differ from those expected, in words; "" where they are the same."""
    if axis.is_own_to_scan:
        return "" if len(found) == len(expected) else f"{len(found)} instead of {len(expected)}"
    lacking, more = _match(expected, found)
    if not lacking and not more:
        return ""
    if len(lacking) == len(more):
        return f"{_name_values(more, axis)} instead of {_name_values(lacking, axis)}"
    parts = [f"without {_name_values(lacking, axis)}"] if lacking else []
    parts += [f"with {_name_values(more, axis)} besides"] if more else []
    return f"{count_words(len(found), 'value')}, {' and '.join(parts)}"


def _match(expected: Values, found: Values) -> tuple[list[float], list[float]]:
    """Values expected that none was found for, and those found that nobody expected."""
    left = list(found)
    lacking = []
    largest = max((abs(value) for value in (*expected, *found)), default=0.0)
    for value in expected:
        slack = max(SAME_SHARE * abs(value), SAME_OF_LARGEST * largest)
        near = [other for other in left if abs(other - value) <= slack]
        if near:
            left.remove(min(near, key=lambda other: abs(other - value)))
        else:
            lacking.append(value)
    return lacking, left


def _name_values(values: Sequence[float], axis: Axis) -> str:
    named = ", ".join(f"{value:.4g}" for value in values[:NAMED])
    return f"{named}{f' and {len(values) - NAMED} more' if len(values) > NAMED else ''} {axis.unit}"


def _check_values(
    one: Acquisition, found: Values, usual: Values, axis: Axis, rule: Mapping[str, Any], console: Console
) -> Check:
    difference = compare(usual, found, axis)
    return make_check(
        not difference,
        severity=rule["severity"],
        id="same_volumes",
        group="protocol",
        scope=one.scope,
        parameter=console.name(axis.key),
        expected=f"as in most runs of this scanner: {count_words(len(usual), 'value')}",
        found=difference or count_words(len(found), "value"),
        remedy=console.word(rule["remedy"], one.first),
    )


def _check_slices(one: Acquisition, found: int, usual: int, rule: Mapping[str, Any], console: Console) -> Check:
    return make_check(
        found == usual,
        severity=rule["severity"],
        id="same_slices_sent",
        group="geometry",
        scope=one.scope,
        parameter="number of slices",
        expected=f"as in most runs of this scanner: {count_words(usual, 'slice')}",
        found=count_words(found, "slice"),
        remedy=console.word(rule["remedy"], one.first),
    )
