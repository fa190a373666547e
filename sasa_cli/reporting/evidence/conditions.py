"""Under which conditions runs were trained: what is shown of them, and what keeps unlike runs out of one mean."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sasa_cli.reporting.evidence.results import Run
from sasa_cli.runs.record import Environment, RunRecord

SHOWN_DIGITS = 8  # of a hash
ANY = "any"
"""The value of a condition that has no effect on that device."""


def _libraries(environment: Environment) -> str:
    return " and ".join(f"{name} {version}" for name, version in sorted(environment.libraries.items())) or "none noted"


ENVIRONMENT_FIELDS: dict[str, Callable[[Environment], str]] = {
    "device": lambda environment: environment.device,
    "device name": lambda environment: environment.device_name,
    "threads": lambda environment: str(environment.threads),
    "attention kernel": lambda environment: environment.kernel or "none",
    "sasa": lambda environment: environment.sasa,
    "torch": lambda environment: environment.torch,
    "timm": lambda environment: environment.timm,
    "libraries": _libraries,
    "python": lambda environment: environment.python,
    "platform": lambda environment: environment.platform,
    "code": lambda environment: (environment.code or "not recorded")[:16],
    "git commit": lambda environment: environment.git_commit or "none",
}


class Conditions(NamedTuple):
    """What runs must have in common to be averaged."""

    device: str
    threads: str
    """Of torch on the CPU: another number sums in another order, and training ends elsewhere."""
    sasa: str
    torch: str
    timm: str
    code: str
    """Fingerprint of the code; the git commit of records that have none."""
    kernel: str
    libraries: str
    """That read and change images."""
    data: str
    backends: str


TITLES = Conditions(
    *("device", "threads", "sasa", "torch", "timm", "code", "attention kernel", "with", "data", "attention backend")
)
OF_THE_MACHINE = ("device", "threads", "sasa", "torch", "timm", "code", "kernel", "libraries")
"""What cells must have in common to be compared: images and backends may follow from what makes them differ."""


def conditions_of(record: RunRecord) -> Conditions | None:
    """None where the record does not say.

    A run that was trained partly under others is under neither: `2.10.0 until epoch 2, then 2.11.0`.
    """
    environment = record.environment
    if environment is None:
        return None
    data = record.data.sha256[:SHOWN_DIGITS] if record.data else "none"
    last = _conditions_in(environment, data)
    sittings = [(_conditions_in(sitting.environment, data), sitting.until_epoch) for sitting in record.earlier_sittings]
    return Conditions(*(_mixture(field, sittings, last) for field in Conditions._fields))


def _mixture(field: str, sittings: Sequence[tuple[Conditions, int]], last: Conditions) -> str:
    """The values of a field one after another; one where it never changed."""
    parts: list[tuple[str, int]] = []
    for conditions, until in sittings:
        value = getattr(conditions, field)
        if parts and parts[-1][0] == value:
            parts.pop()
        parts.append((value, until))
    end: str = getattr(last, field)
    if parts and parts[-1][0] == end:
        parts.pop()
    return ", then ".join([*(f"{value} until epoch {until}" for value, until in parts), end])


def _conditions_in(environment: Environment, data: str) -> Conditions:
    """Those of one sitting."""
    backends = sorted(environment.backends.items())
    names = sorted(set(environment.backends.values()))
    # One backend in all layers is the rule; where layers differ, which has which matters.
    backend = ", ".join(f"{layer} {name}" for layer, name in backends) if len(names) > 1 else "".join(names)
    return Conditions(
        device=environment.device,
        threads=str(environment.threads) if environment.device == "cpu" else ANY,
        sasa=environment.sasa,
        torch=environment.torch,
        timm=environment.timm,
        code=(environment.code or environment.git_commit or "none")[:SHOWN_DIGITS],
        kernel=environment.kernel or "none",
        libraries=_libraries(environment),
        data=data,
        backends=backend or "none",
    )


def comparable(first: RunRecord, second: RunRecord) -> bool:
    """Whether the accuracies of runs of different cells may be compared: same machinery, same test set."""
    tests = [(record.data.name, record.data.test, record.data.classes) for record in (first, second) if record.data]
    machinery = [
        None if found is None else tuple(getattr(found, field) for field in OF_THE_MACHINE)
        for found in map(conditions_of, (first, second))
    ]
    return len(set(tests)) <= 1 and machinery[0] == machinery[1]


def fields_that_differ(found: Iterable[Conditions | None]) -> tuple[str, ...]:
    """The names of the fields in which these conditions differ, in order."""
    distinct = set(found)
    known = [conditions for conditions in distinct if conditions is not None]
    if len(distinct) < 2:
        return ()
    if len(known) < 2:
        return ("device",)  # some records say nothing at all
    return tuple(field for field in Conditions._fields if len({getattr(each, field) for each in known} - {ANY}) > 1)


def conditions_text(conditions: Conditions | None, fields: Sequence[str]) -> str:
    """`torch 2.14.0, device cuda`: those of the fields that tell runs apart."""
    if conditions is None:
        return "conditions not recorded"
    shown = [field for field in fields if getattr(conditions, field) != ANY]
    return ", ".join(f"{getattr(TITLES, field)} {getattr(conditions, field)}" for field in shown)


def environment_values(runs: Iterable[Run]) -> dict[str, dict[str, int]]:
    """By field of the environment and of the data: each value that occurs and in how many finished runs."""
    fields: dict[str, dict[str, int]] = {}
    for run in runs:
        if run.status != "done" or run.record is None:
            continue
        values: dict[str, str] = {}
        environment, data = run.record.environment, run.record.data
        if environment is not None:
            values |= {field: read(environment) for field, read in ENVIRONMENT_FIELDS.items()}
        if data is not None:
            values["data"] = f"{data.name}, {data.train:,} train, {data.val:,} val, {data.test:,} test images"
            values["data fingerprint"] = data.sha256[:16]
        for field, value in values.items():
            counts = fields.setdefault(field, {})
            counts[value] = counts.get(value, 0) + 1
    return fields
