"""What export measured of the artifact's smaller variants, in the form the gate judges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluate.metrics import Rate, wilson


@dataclass(frozen=True)
class Agreement:
    """How often a smaller variant of the artifact decides as its float32 model does, in one language."""

    head: str
    variant: str
    language: str
    agreeing: Rate


@dataclass(frozen=True)
class Variant:
    """A variant beside float32: whether it ships, export's reason, and its agreement on validation rows where that was measured."""

    name: str
    ships: bool
    note: str
    agreement: list[Agreement]

    @property
    def worst(self) -> Agreement | None:
        """Where it agrees least."""
        return min(self.agreement, key=lambda one: one.agreeing.value or 0, default=None)


def measured_variants(contract: dict[str, Any]) -> list[Variant]:
    """The variants that the artifact's `contract.json` speaks of."""
    return [
        Variant(name, bool(measured["ships"]), str(measured["note"]), [_agreement(name, cell) for cell in measured["agreement"]])
        for name, measured in contract.get("measured", {}).items()  # releases of earlier versions have none
    ]


def shipped_agreement(variants: Sequence[Variant]) -> list[Agreement] | None:
    """What is known of the int8 model's decisions; None if the artifact ships none."""
    shipped = [variant for variant in variants if variant.name == "int8" and variant.ships]
    return [one for variant in shipped for one in variant.agreement] if shipped else None


def _agreement(name: str, cell: dict[str, Any]) -> Agreement:
    rows = int(cell["rows"])
    agreeing = round(cell["agreement"] * rows)
    return Agreement(cell["head"], name, cell["language"], Rate(agreeing / rows, *wilson(agreeing, rows), agreeing, rows, rows))
