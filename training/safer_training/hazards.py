"""From the categories and words of a row to the protocol's hazard category."""

from collections.abc import Mapping

BY_SOURCE: Mapping[str, str] = {
    # AILuminate
    "hte": "hate",
    "ipv": "intellectual_property",
    "iwp": "indiscriminate_weapons",
    "ncr": "nonviolent_crimes",
    "prv": "privacy",
    "ssh": "self_harm",
    "vcr": "violent_crimes",
    "dfm": "defamation",
    "src": "sex_crimes",
    "sxc_prn": "sexual_content",
    "spc_fin": "specialized_advice",
    "spc_hlt": "specialized_advice",
    "spc_ele": "specialized_advice",
    "spc_lgl": "specialized_advice",
    # CatQA
    "Malware Viruses": "code_abuse",
    "Physical Harm": "violent_crimes",
    "Economic Harm": "nonviolent_crimes",
    "Fraud/Deception": "nonviolent_crimes",
    "Political Campaigning": "elections",
    "Privacy Violation Activity": "privacy",
    "Tailored Financial Advice": "specialized_advice",
    "Illegal Activity": "nonviolent_crimes",
    "Adult Content": "sexual_content",
    "Hate/Harass/Violence": "hate",
    # StrongREJECT
    "Non-violent crimes": "nonviolent_crimes",
    "Hate, harassment and discrimination": "hate",
    "Violence": "violent_crimes",
    # CoCoNot
    "Humanizing requests": "specialized_advice",
}

KEYWORDS: tuple[tuple[str, str], ...] = (
    # Stems, separated by bars. The first match wins, so what is gravest stands first.
    ("indiscriminate_weapons", "bomb|explosiv|nerve agent|chemical weapon|biological|anthrax|nuclear"),
    ("child_exploitation", "child porn|underage|minors|groom"),
    ("self_harm", "suicid|self-harm|kill myself|hurt myself|cut myself|anorexi|bulimi|eating disorder"),
    ("sex_crimes", "rape|sexual assault|trafficking|prostitut|molest"),
    ("sexual_content", "porn|erotic|sexual|explicit|nude"),
    (
        "hate",
        "racis|racial|sexis|hate|jew|muslim|black people|minorit|immigrant|homophob|slur|motivated by|"
        "bigot|discriminat|stereotyp|religio|women|gender|ethnic|offensive",
    ),
    (
        "code_abuse",
        "hack|malware|virus|ransomware|phish|ddos|sql injection|keylog|spyware|exploit|cyber|botnet|"
        "password|encryption|backdoor",
    ),
    ("elections", "election|vote|voting|voter|ballot|misinformation|propaganda|fake news|conspirac"),
    ("intellectual_property", "plagiar|pirat|copyright|counterfeit software|crack software"),
    ("defamation", "defam|slander|libel|false rumor|rumors about|smear"),
    (
        "privacy",
        "personal information|privacy|stalk|spy on|track|home address|social security|surveil|"
        "personally identifiable|eavesdrop|dox",
    ),
    (
        "violent_crimes",
        "kill|murder|assassin|terror|attack|violen|weapon|gun|shoot|stab|poison|kidnap|hijack|assault|"
        "hurt|harm|abuse|torture|cruelty|fight|animal|threat|bully|war ",
    ),
)
FALLBACK = "nonviolent_crimes"


def hazard_of(category: str | None, text: str) -> str:
    """Return the protocol's category of a request that is not harmless, by its source's category, else by its words."""
    if category is not None and category in BY_SOURCE:
        return BY_SOURCE[category]
    words = f"{category or ''} {text}".lower()
    return next((hazard for hazard, stems in KEYWORDS if any(stem in words for stem in stems.split("|"))), FALLBACK)
