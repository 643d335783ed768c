"""What commands print when they are done: tables for a terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from isocenter import layout

#: Texts come from headers and folders, where [square brackets] are brackets.
console = Console(markup=False)
errors = Console(stderr=True, markup=False)

#: Sentences in columns narrower than this are hard to read [characters].
NARROW = 18

VERDICT_MARK = {"qualified": "✓", "not_qualified": "✗", "indeterminate": "?", "pass": "✓", "warn": "!", "fail": "✗"}


def run_progress() -> Progress:
    """The bar of a run: what it does, how many of how many, how long."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def show_rows(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table of plain texts, unless it has no rows; entries where the terminal is too narrow for columns."""
    texts = [[str(value) for value in row] for row in rows]
    if not texts:
        return
    natural = sum(max(map(len, column)) + 3 for column in zip(columns, *texts, strict=True)) + 1
    if natural > console.width < NARROW * len(columns):
        _show_entries(title, columns, texts)
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in texts:
        table.add_row(*row)
    console.print(table)


def _show_entries(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first two columns as a heading, each other one as a line under it, beside its name."""
    console.print(Text(title, "italic"))
    for row in rows:
        console.print(Text(f"{row[0]}  {row[1]}", "bold"))
        lines = Table.grid(padding=(0, 2))
        lines.add_column(no_wrap=True)
        lines.add_column(overflow="fold")
        for name, text in zip(columns[2:], row[2:], strict=True):
            lines.add_row(Text(name, "dim"), text)
        console.print(Padding(lines, (0, 0, 0, 4)))


def show_planned(planned) -> None:
    """What a run would do: jobs by rule, and why."""
    show_rows(
        "What would run",
        ("rule", "jobs", "because"),
        [(rule, count, "; ".join(planned.reasons.get(rule, ()))) for rule, count in planned.counts.items()],
    )
    more = "; the intake then decides what more" if "index_site" in planned.counts else ""
    console.print(f"{len(planned)} jobs would run{more}; {layout.PLAN_LOG} names each", soft_wrap=True, highlight=False)


def show_phantom(outcome) -> None:
    """The series of a phantom session, its vials against their references, and the verdict."""
    table = Table(title="Series", title_justify="left")
    for column in ("time", "kind", "used", "what it is, or why not", "files"):
        table.add_column(column, overflow="fold")
    for row in outcome.scans:
        table.add_row(row["time"], row["suffix"], row["disposition"], row["reason"], str(row["n_files"]))
    console.print(table)
    table = Table(
        title="Vials against their references", title_justify="left", caption_justify="left",
        caption="mean, rms and largest bias of the vials used, and what calibration leaves of it (each vial predicted "
        "from the others), in percent, of fractions in points",
    )  # fmt: skip
    for column in ("method", "used", "mean", "rms", "largest", "form", "left"):
        is_text = column in ("method", "form")
        table.add_column(column, overflow="fold", justify="left" if is_text else "right", no_wrap=column == "used")
    for row in outcome.rows:
        table.add_row(*row)
    console.print(table)
    for what, why in outcome.problems:
        errors.print(f"Not done: {what}: {why}", highlight=False, soft_wrap=True)
    mark = VERDICT_MARK.get(outcome.verdict, "")
    console.print(f"{mark} {outcome.verdict}: {outcome.sentence}", highlight=False, soft_wrap=True)


def show_alignment(outcome) -> None:
    """A row a volume, and what became of the alignment."""
    table = Table()
    columns = ["volume", "displacement_mm", "framewise_displacement_mm", "used"]
    for column, title in zip(columns, ("volume", "displacement [mm]", "framewise [mm]", "used"), strict=True):
        table.add_column(title, overflow="fold", justify="left" if column == "used" else "right")
    for row in outcome.table[columns].itertuples(index=False):
        table.add_row(str(row[0]), f"{row[1]:.2f}", f"{row[2]:.2f}", str(row[3]))
    console.print(table)
    console.print(outcome.note[:1].upper() + outcome.note[1:], soft_wrap=True)


def show_models(known) -> None:
    """The signal models: what each needs, takes and gives."""
    for model in known:
        console.print(Text.assemble((model.name, "bold"), f"  {model.title}"))
        uses = f"; uses {', '.join(model.uses)}" if model.uses else ""
        lines = [f"needs {', '.join(model.needs)}{uses}"]
        if model.options:
            lines.append("options " + ", ".join(f"{key}={_plain(value)}" for key, value in model.options.items()))
        lines.append("gives " + ", ".join(f"{p.name} [{p.unit}]" for p in model.parameters))
        for line in lines:
            console.print(f"    {line}", highlight=False, soft_wrap=True)


def _plain(value: object) -> str:
    """A default as YAML writes it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def show_fit(outcome) -> None:
    """Each parameter over the voxels that hold a value, and what became of the others."""
    from isocenter.units import display_unit

    table = Table()
    for column in ("parameter", "unit", "median", "5 %", "95 %", "median standard error"):
        table.add_column(column, justify="left" if column in ("parameter", "unit") else "right")
    for row in outcome.parameters:
        unit, factor = display_unit(row.unit)
        numbers = (f"{factor * x:.4g}" for x in (row.median, row.low, row.high, row.stderr))
        table.add_row(row.name, unit, *numbers)
    console.print(table)
    tried = max(1, sum(count for name, count in outcome.flags.items() if name != "masked"))
    shares = [
        f"{name.replace('_', ' ')} {count} ({100 * count / tried:.1f} %)"
        for name, count in outcome.flags.items() if count and name != "masked"
    ]  # fmt: skip
    console.print(f"Voxels: {', '.join(shares)}; masked {outcome.flags['masked']}", highlight=False, soft_wrap=True)
    if outcome.outlier_share is not None:
        console.print(f"Weighed down: {100 * outcome.outlier_share:.2f} % of the samples", highlight=False)


def draw_trace(node) -> str:
    """The tree of what a number was made from, hashes whole; single DICOM files are counted only."""
    return "\n".join(_draw_node(node))


def _draw_node(node) -> list[str]:
    state = f" ({node.state})" if node.state else ""
    details = [f"sha256 {node.sha256}{state}"] if node.sha256 else [state.strip()] if state else []
    facts = {key: value for key, value in node.facts.items() if value not in ("", "n/a", None, [], {})}
    if facts:
        details.append("; ".join(f"{key}: {_in_words(value)}" for key, value in facts.items()))
    below = [source for source in node.sources if source.what != "DICOM file"]
    lines = [f"{node.what}  {node.path}".rstrip(), *(f"{'│' if below else ' '}  {line}" for line in details)]
    for source in below:
        first, *others = _draw_node(source)
        is_last = source is below[-1]
        lines += [f"{'└─' if is_last else '├─'} {first}", *(f"{' ' if is_last else '│'}  {line}" for line in others)]
    return lines


def _in_words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
