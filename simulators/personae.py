"""The people who ask in the demo and the journeys: invented readers at the places of care of the pilot.

Names, HPR and birth numbers are made up (synthetic series, month + 80); places of care and organisation numbers are
public or marked synthetic in docs/examples/pilot.
"""

from __future__ import annotations

from datetime import date

from simulators.people import synthetic_number
from simulators.sts import Clinician


def _reader(
    serial: int, name: str, hpr: str, place: tuple[str, str], entity: tuple[str, str], role: str = "LE"
) -> Clinician:
    return Clinician(
        name=name,
        number=synthetic_number(date(1970, 1, 1), serial),
        hpr=hpr,
        role=role,
        legal_entity=entity[0],
        legal_entity_name=entity[1],
        place_of_care=place[0],
        place_of_care_name=place[1],
    )


_OSLO = ("958935420", "Oslo kommune")
_HAUKELAND = ("974557746", "Haukeland universitetssjukehus")
_HELSE_BERGEN = ("983974724", "Helse Bergen HF")
_MORKVED = ("999537634", "Mørkved Legesenter")

ANNE = _reader(0, "Anne Legevaktslege", "T0000101", ("984630492", "Allmennlegevakta"), _OSLO)
"""Doctor at the emergency clinic in Oslo, enrolled."""
BERIT = _reader(1, "Berit Akuttsykepleier", "T0000102", ("311000012", "Kommunal akutt døgnenhet, Aker"), _OSLO, "SP")
"""Nurse at the municipal acute ward, enrolled."""
CARL = _reader(
    2, "Carl Ahuslege", "T0000103", ("974706490", "Akershus universitetssykehus"), ("983971636", "Akershus US HF")
)
"""Doctor at Ahus, enrolled."""
DAG = _reader(3, "Dag Fastlege", "T0000104", _MORKVED, _MORKVED)
"""General practitioner in Bodø, enrolled."""
EVA = _reader(4, "Eva Barneonkolog", "T0000002", _HAUKELAND, _HELSE_BERGEN)
"""Paediatric oncologist at Haukeland, on the national panel."""
FINN = _reader(
    5,
    "Finn Rikshospitallege",
    "T0000201",
    ("874716782", "Rikshospitalet"),
    ("993467049", "Oslo universitetssykehus HF"),
)
"""Doctor at Oslo universitetssykehus: a source in the pilot, not a reader."""
GURO = _reader(6, "Guro Kirurg", "T0000202", _HAUKELAND, _HELSE_BERGEN)
"""Surgeon at Haukeland, not on the panel."""

READERS = (ANNE, BERIT, CARL, DAG, EVA, FINN, GURO)
