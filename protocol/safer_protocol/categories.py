"""Hazard categories: MLCommons AILuminate / Llama Guard hazards, two attacks on the guard itself, and none.

`moderation` maps a category to the categories of OpenAI's moderation endpoint.
"""

from pydantic import Field as PydanticField

from safer_protocol.frozen import Frozen


class Category(Frozen):
    """A hazard category with its meaning and the moderation categories it falls under."""

    name: str = PydanticField(pattern=r"^[a-z][a-z0-9_]*$")
    meaning: str
    moderation: tuple[str, ...] = ()


NO_HAZARD = "none"

CATEGORIES = (
    Category(
        name="violent_crimes", meaning="Violence against people or animals.", moderation=("violence", "illicit/violent")
    ),
    Category(name="nonviolent_crimes", meaning="Theft, fraud, drugs and other crimes.", moderation=("illicit",)),
    Category(
        name="sex_crimes",
        meaning="Sexual violence, trafficking and harassment.",
        moderation=("sexual", "illicit/violent"),
    ),
    Category(name="child_exploitation", meaning="Sexual abuse of children.", moderation=("sexual/minors",)),
    Category(name="defamation", meaning="False claims that injure a real person.", moderation=("harassment",)),
    Category(name="specialized_advice", meaning="Medical, legal or financial advice that needs a professional."),
    Category(name="privacy", meaning="Exposing or misusing private information.", moderation=("illicit",)),
    Category(
        name="intellectual_property", meaning="Violating copyright, trademark or patent.", moderation=("illicit",)
    ),
    Category(
        name="indiscriminate_weapons",
        meaning="Chemical, biological, nuclear or explosive weapons.",
        moderation=("illicit/violent", "violence"),
    ),
    Category(name="hate", meaning="Demeaning people for what they are.", moderation=("hate", "harassment")),
    Category(name="self_harm", meaning="Suicide, self-injury and disordered eating.", moderation=("self-harm",)),
    Category(name="sexual_content", meaning="Erotic content.", moderation=("sexual",)),
    Category(name="elections", meaning="False information about voting and public life.", moderation=("illicit",)),
    Category(name="code_abuse", meaning="Malware and abuse of computer systems.", moderation=("illicit",)),
    Category(name="jailbreak", meaning="Getting the model round its rules."),
    Category(name="prompt_injection", meaning="Instructions hidden in pictures or quoted material."),
    Category(name=NO_HAZARD, meaning="No hazard."),
)

CATEGORY_WORDS = tuple(category.name for category in CATEGORIES)

MODERATION_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""The thirteen categories of OpenAI's moderation object."""
