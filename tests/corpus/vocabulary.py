"""The words of the generated documents: ten fields of work, invented names, and sentences with places to fill.

Only data. Every name is invented; a sentence's places are filled by `tests.corpus.generated`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """A field of work: what is looked after, what is measured there, what goes wrong and what is done about it."""

    name: str
    assets: tuple[str, ...]
    measures: tuple[tuple[str, str, float, float], ...]
    """Name, unit, lowest and highest value."""
    problems: tuple[str, ...]
    actions: tuple[str, ...]


FIELDS = (
    Field(
        "harbour dredging",
        ("the outer basin", "the ferry berth", "the turning circle", "the north breakwater", "the silt trap"),
        (
            ("water depth", "m", 4.2, 11.8),
            ("sediment removed", "m³", 300, 9400),
            ("turbidity", "NTU", 3, 88),
            ("suction pressure", "kPa", 40, 95),
        ),
        ("faster silting than forecast", "boulders in the suction pipe", "a broken cutter tooth", "oily sediment"),
        (
            "sounded again with the echo sounder",
            "dredged to the design depth",
            "closed to ships at low water",
        ),
    ),
    Field(
        "district heating",
        ("the boiler house", "the northern trunk main", "heat exchanger 4", "the storage tank", "the pumping station"),
        (
            ("supply temperature", "°C", 68, 112),
            ("heat delivered", "MWh", 120, 4300),
            ("loss in the network", "%", 6, 19),
            ("flow", "l/s", 14, 260),
        ),
        ("a leak at an expansion joint", "scale in the exchanger", "a stuck control valve", "water hammer at start-up"),
        ("flushed and inspected by camera", "fitted with a new compensator", "switched to winter operation"),
    ),
    Field(
        "bee monitoring",
        ("apiary 7", "the orchard hives", "the control colonies", "the hive scales", "the wildflower strips"),
        (
            ("hive weight", "kg", 18, 61),
            ("mite count", "per 100 bees", 0.2, 7.5),
            ("honey yield", "kg", 4, 38),
            ("brood frames", "frames", 3, 11),
        ),
        ("a late frost in the blossom", "robbing between colonies", "a failing queen", "spray drift from a field"),
        ("treated with oxalic acid", "moved to the upper meadow", "weighed every hour by radio"),
    ),
    Field(
        "bridge inspection",
        ("the approach span", "the expansion joints", "pier 3", "the stay cables", "the drainage gullies"),
        (
            ("crack width", "mm", 0.1, 2.4),
            ("cable force", "kN", 900, 5200),
            ("deflection", "mm", 2, 46),
            ("chloride content", "%", 0.05, 0.9),
        ),
        ("corrosion at the anchorages", "blocked gullies", "a worn bearing", "loose rivets on the walkway"),
        ("blasted and painted", "instrumented with strain gauges", "limited to vehicles of 18 tonnes"),
    ),
    Field(
        "dairy processing",
        ("pasteuriser 2", "the ripening cellar", "the cleaning station", "the whey separator", "the cold store"),
        (
            ("milk received", "t", 12, 340),
            ("holding temperature", "°C", 71.5, 76.0),
            ("fat content", "%", 3.1, 4.6),
            ("germ count", "CFU/ml", 200, 48000),
        ),
        ("a drop in the holding temperature", "foam in the separator", "a slow acidification", "a torn gasket"),
        ("cleaned in place twice", "recalibrated against the reference", "held back until the second analysis"),
    ),
    Field(
        "glacier survey",
        ("the ablation stakes", "the accumulation basin", "the proglacial lake", "the weather mast", "the snow pit"),
        (
            ("ice loss", "m", 0.4, 5.9),
            ("snow depth", "cm", 35, 620),
            ("flow velocity", "m a year", 6, 74),
            ("discharge", "m³/s", 0.3, 14.0),
        ),
        (
            "a stake that had melted out",
            "a frozen data logger",
            "dust from the south on the snow",
            "a new crevasse",
        ),
        ("drilled in again with steam", "surveyed by drone", "abandoned for a site 200 metres higher"),
    ),
    Field(
        "textile conservation",
        ("the altar cloth", "the silk banners", "the tapestry cycle", "the costume store", "the freezing chamber"),
        (
            ("relative humidity", "%", 38, 64),
            ("light dose", "klx h", 12, 150),
            ("tear strength", "N", 3, 41),
            ("hours of work", "h", 8, 420),
        ),
        ("clothes moths in a crate", "bleeding dyes", "a lining glued in the 1960s", "salt from a burst pipe"),
        ("frozen for two weeks", "supported on dyed linen", "photographed under raking light"),
    ),
    Field(
        "tram operations",
        ("depot east", "line 6", "the points at the market", "the overhead line", "the wheel lathe"),
        (
            ("ridership", "passengers a day", 4100, 61800),
            ("punctuality", "%", 81, 98),
            ("wheel wear", "mm", 0.2, 5.5),
            ("energy", "kWh per km", 2.1, 4.8),
        ),
        ("frozen points", "a derailment at walking speed", "a failed door motor", "vandalised shelters"),
        ("turned on the lathe", "replaced over a weekend closure", "given priority at four traffic lights"),
    ),
    Field(
        "seed banking",
        ("the drying room", "vault B", "the germination cabinets", "the legume collection", "the field trial"),
        (
            ("germination", "%", 34, 99),
            ("moisture", "%", 3.2, 9.8),
            ("samples", "packets", 12, 2600),
            ("vault temperature", "°C", -21, -16),
        ),
        (
            "hard seeds that did not swell",
            "a mislabelled accession",
            "weevils in a shipment",
            "a tired compressor",
        ),
        ("dried for six more weeks", "duplicated at the partner bank", "sown for regeneration"),
    ),
    Field(
        "river restoration",
        ("the old weir", "the fish pass", "the oxbow", "the gravel banks", "the gauging station"),
        (
            ("trout", "per 100 m", 2, 140),
            ("oxygen", "mg/l", 5.1, 12.4),
            ("gravel added", "t", 60, 3900),
            ("flood level", "cm", 80, 410),
        ),
        ("driftwood in the fish pass", "knotweed on the banks", "a bed that keeps sinking", "low oxygen in August"),
        ("opened by two excavators", "planted with willow and alder", "counted by electrofishing"),
    ),
)

GIVEN_NAMES = (
    "Adela", "Bertil", "Corisande", "Dorian", "Elvira", "Fenno", "Gudrun", "Hamza", "Ilka", "Jovan", "Keziah",
    "Leopold", "Mirela", "Nuno", "Oksana", "Pelle", "Quirin", "Rosalba", "Sefton", "Tamsin", "Ulrika", "Vesna",
    "Wendel", "Yolanda",
)  # fmt: skip
FAMILY_NAMES = (
    "Aldergrove", "Brunnholt", "Castellane", "Dovrekin", "Esterwald", "Fallowmere", "Grentham", "Hollinwade",
    "Iversgard", "Jorvath", "Kestenholt", "Lindqvale", "Marchetta", "Norrvik", "Ostrander", "Pellworth", "Quillfeather",
    "Rothenbeck", "Silvanto", "Thornycroft-Lee", "Umbreit", "Vandermark", "Whitlowe", "Zeiderman",
)  # fmt: skip
# Not from `strftime`, which a library that sets the locale would change.
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
PLACES = (
    "Aldmouth", "Brackwater", "Carnstead", "Dunmore Ferry", "Eastholm", "Fenwick Cross", "Grauhafen", "Hallowdale",
    "Inverlow", "Juniper Bay", "Kaltenried", "Langmoor", "Merrowgate", "Nordvaag", "Oakhampton", "Pontclair",
)  # fmt: skip
ORGANISATIONS = (
    "the {place} Works Department", "{family} & Sons Ltd", "the Institute for Applied {noun}", "the {place} Trust",
    "{family} Engineering AG", "the University of {place}", "the Regional {noun} Authority",
    "{place} Technical College",
)  # fmt: skip
ORGANISATION_NOUNS = (
    "Hydrology",
    "Materials",
    "Ecology",
    "Transport",
    "Heritage",
    "Energy",
    "Agriculture",
    "Metrology",
)

SECTIONS = (
    "Background", "Condition on site", "Measurements", "Discussion", "Work carried out",
    "Comparison with earlier years", "Safety", "Organisation", "Public consultation", "Outlook",
)  # fmt: skip

SENTENCES = (
    "On {date}, {person} inspected {asset} and found {problem}.",
    "{organisation} has looked after {asset} since {year}.",
    "The {measure} reached {value} {unit}, against {other} {unit} in the year before.",
    "According to {person}, {problem} explains about {percent} per cent of the difference.",
    "{Asset} was {action} between {date} and {later}.",
    "The work cost {money} francs, of which {organisation} paid {percent} per cent.",
    "Nobody had expected {problem} so early in the season.",
    "A second reading on {date} gave {value} {unit}, which is within the tolerance of {percent} per cent.",
    "{person}, who leads the group in {place}, asked for a third measurement.",
    "The contract with {organisation} runs until {later} and can be extended once.",
    "At {place} the same method was used in {year}, with less success.",
    "If the {measure} falls below {other} {unit}, {asset} has to be {action}.",
    "Three of {count} readings were discarded because the instrument had been moved.",
    "{person} and {colleague} checked the calculation independently and agreed to the second decimal.",
    "What remains open is whether {problem} will return next winter.",
    "The archive in {place} holds {count} sheets of drawings, the oldest of them from {year}.",
    "{organisation} trained {count} people for the new procedure, most of them volunteers.",
    "In the minutes of {date} the cause is given as {problem}; we think that this is only half the truth.",
    "Since {year} the average {measure} has changed by {percent} per cent.",
    "The alarm went off at {time} on {date}, and {person} was on site within {count} minutes.",
    "Neighbours complained {count} times, mostly about noise before {time}.",
    "A spare part ordered from {organisation} arrived {count} days late.",
    "{Asset} will be {action} again before {later}.",
    "The budget for the coming year is {money} francs, {percent} per cent more than in this one.",
    "We compared {asset} with its counterpart in {place}, which is {count} years older.",
    "Two methods were tried for the {measure}; the simpler one gave {value} {unit} and was kept.",
    "The report of {organisation} from {year} describes the same symptom but draws another conclusion.",
    "{person} took over from {colleague} on {date}.",
    "The lowest {measure} of the year, {value} {unit}, was read on {date}.",
    "Half of the readings lay above {value} {unit}, and a quarter above {other} {unit}.",
    "A camera at {asset} has taken a picture every {count} minutes since {date}.",
    "The insurer accepted the claim of {money} francs on {later}.",
    "In {place}, {organisation} solved this by a simple timetable.",
    "{problem_first} was the most frequent entry in the log, with {count} cases.",
    "The model of {year} predicted {value} {unit}; the instrument showed {other} {unit}.",
    "We propose to leave {asset} as it is until {later}.",
    "{organisation} and {other_organisation} signed an agreement on {date}.",
    "Of {count} samples sent to the laboratory, two came back without a result.",
    "A member of the public, {person}, reported {problem} at {time}.",
    "The {measure} follows the weather with a delay of about {count} hours.",
    "On {date} the power failed for {count} minutes, and {asset} was out of use.",
    "This is the first time since {year} that {asset} has been {action}.",
    "The difference between day and night was {percent} per cent at most.",
    "Visitors to {place} numbered {count} hundred in {year}, and no accident was recorded.",
)

TASKS = (
    "Measure the {measure} at {asset} every {count} days",
    "Ask {organisation} for an offer by {date}",
    "{person} to report on {problem} at the next meeting",
    "Have {asset} {action} before {later}",
    "Set aside {money} francs for spare parts",
    "Publish the figures of {year} together with the raw data",
    "Agree with {place} on a common form for the log",
    "Repeat the reading of {value} {unit} with a second instrument",
)
